"""From names to objects: networks, datamodules and cards."""

import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from lightning.pytorch import LightningDataModule

from datamodules.memory import spec_of
from zoo.cards import Card, card_path, pretrained_path, read_card
from zoo.errors import DoesNotFitData, UserError
from zoo.initialization import initialize
from zoo.learning import SETTINGS, ClassSpec, Learning
from zoo.loading.classes import class_at, instantiate, trusting
from zoo.module import ZooModule
from zoo.recipe import DATAMODULES, Recipe, find_recipe
from zoo.run_recipe import start_from_weights
from zoo.transfer import follow, load_backbone


def create_datamodule(
    name: str, *, like: ZooModule | None = None, **overrides: Any
) -> LightningDataModule:
    """Make the datamodule of that name, or the one that a network is paired with.

    Args:
        name: `mnist`, `fashion_mnist`, ..., or the name of a model.
        like: A network that was made with other data, by whose columns, scales, vocabularies and
            classes these are read. A Trainer sees to that by itself.
        overrides: Arguments of the datamodule.
    """
    named = {"class_path": DATAMODULES[name]} if name in DATAMODULES else find_recipe(name).data
    datamodule = instantiate(named, LightningDataModule, **overrides)
    return datamodule if like is None else datamodule.follow(like)


def create_model(
    name: str,
    /,
    pretrained: bool = False,
    *,
    classes: list[str] | None = None,
    num_classes: int | None = None,
    datamodule: LightningDataModule | None = None,
    learning: Learning | Mapping[str, Any] | None = None,
    optimizer: ClassSpec | None = None,
    lr_scheduler: ClassSpec | None = None,
    trust: Iterable[str | type] = (),
    **overrides: Any,
) -> ZooModule:
    """Make a network of the zoo that learns as its recipe says, ready for `Trainer.fit`.

    Args:
        name: A name of `list_models()`, or the path of a recipe file.
        pretrained: Load the weights that the zoo ships for that name: its own, else those of
            `NAME.tuned`, which is said on stderr. How the network learns stays `NAME`'s, except
            for a teacher, which is loaded only if it is passed.
        classes: Names of the classes of a new task. With `pretrained` this always gives a new,
            untrained head, also when the number of classes is the same as before.
        num_classes: Their number, instead of their names.
        datamodule: Data to fit the network to; by default the data of its recipe.
        learning: What to change of how it learns, such as `{"loss": "mse"}`.
        optimizer: Class path and arguments of an optimizer, instead of the recipe's.
        lr_scheduler: Class path and arguments of a schedule, instead of the recipe's.
        trust: Classes of your own that weights may name, those of a teacher too.
        overrides: Arguments of the network, such as `hidden_dim=256`.

    Returns:
        The network, ready for `Trainer.fit`; a pretrained one in evaluation mode until then.

    Raises:
        UserError: If there is no such network, or no weights for it.
    """
    recipe = find_recipe(name)
    if classes is not None and num_classes not in (None, len(classes)):
        raise UserError(f"classes names {len(classes)} classes, but num_classes is {num_classes}.")
    for setting in overrides.keys() & set(SETTINGS):
        raise UserError(f"{setting} is how a network learns: pass learning={{'{setting}': ...}}.")
    count = len(classes) if classes is not None else num_classes
    if pretrained:
        if datamodule is not None:
            raise UserError(
                "Weights follow the data they were made with: pass classes=[...] for a new head "
                "instead of datamodule."
            )
        network: type[ZooModule] = class_at(recipe.model["class_path"], ZooModule)
        arguments = {**overrides, **_dropout(network, recipe.model["init_args"] | overrides)}
        model = network.from_pretrained(pretrained_path(name), trust=trust, **arguments)
        # A teacher is a second network to load, of use to few who open weights: those pass it.
        recipe = replace(recipe, learning={**recipe.learning, "teacher": None})
    else:
        datamodule = datamodule or create_datamodule(name)
        spec = spec_of(datamodule)
        if recipe.weights:  # a run's config.yaml: it started from weights
            source = recipe.weights["source"]
            recipe = start_from_weights(recipe)
            arguments = {**recipe.model["init_args"], **overrides}
            model, start = load_backbone(source, follow(datamodule, source), **arguments)
            print(start, file=sys.stderr)
        else:
            network = class_at(recipe.model["class_path"], ZooModule)
            model = network(spec, **{**recipe.model["init_args"], **overrides})
    if count is not None:
        known = model.class_names
        model.reset_head(count, classes)
        if pretrained:
            print(
                f"{name}: new head for {count} classes, untrained; the weights knew "
                f"{', '.join(known)}.",
                file=sys.stderr,
            )
    asked = _asked(learning)
    asked |= {"optimizer": optimizer} if optimizer else {}
    asked |= {"lr_scheduler": lr_scheduler} if lr_scheduler else {}
    with trusting(trust):
        let_learn(model, learning_of(recipe, **asked), asked)
    if not pretrained and not recipe.weights:
        initialize(model, model.learning.init)
    return model


def _asked(learning: Learning | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings that a user gave: of a `Learning` those that are not its defaults."""
    plain = Learning.of(learning).plain()
    if isinstance(learning, Learning):
        default = Learning().plain()
        return {key: value for key, value in plain.items() if value != default[key]}
    return {key: plain[key] for key in learning or ()}


def _dropout(network: type[ZooModule], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a network's dropout, which belongs to its learning: not that of its weights."""
    parameters = inspect.signature(network).parameters.values()
    return {p.name: arguments.get(p.name, p.default) for p in parameters if "dropout" in p.name}


def learning_of(recipe: Recipe, **changes: Any) -> Learning:
    """Return how a recipe's network learns."""
    whole = {"optimizer": recipe.optimizer, "lr_scheduler": recipe.lr_scheduler}
    return Learning.of({**recipe.learning, **whole, **changes})


def let_learn(
    model: ZooModule,
    learning: Learning,
    asked: Collection[str] = (),
    tell: Callable[[str], None] = lambda notice: None,
) -> None:
    """Let a network learn as a recipe says, as far as that fits its data.

    What the recipe took for its own data (a loss, a teacher) is not for others and gives way,
    unless the user asked for it.

    Args:
        model: The network.
        learning: The recipe's settings with the user's.
        asked: The names of the user's, which never give way.
        tell: What to do with the sentence on what gave way.

    Raises:
        DoesNotFitData: If what the user asked for does not fit.
    """
    while True:
        try:
            model.learn(learning)
            return
        except DoesNotFitData as error:
            plain = learning.plain()
            given_way = all(plain[key] == value for key, value in error.fallback.items())
            if given_way or set(asked) & error.fallback.keys():
                raise
            tell(f"{error.notice} ({error})")
            learning = replace(learning, **error.fallback)


def model_card(name: str) -> Card:
    """Return the card of shipped weights: how good they are, and how that was measured.

    Its `name` is that of the weights: for `mnist_net` the zoo ships those of `mnist_net.tuned`.
    """
    return read_card(card_path(pretrained_path(name)))
