"""The recipe of one run: a name's, with other data, settings from files, weights to start from.

Importing it imports no torch.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from datamodules.folders import expand_home
from zoo.cards import card_path, pretrained_path, read_card, read_structure, weights_path
from zoo.errors import UserError, unknown
from zoo.learning import ClassSpec
from zoo.loading.classes import check_spec, class_in_data, takes, trusting
from zoo.loading.own_modules import may_name
from zoo.recipe import (
    CLASS_KEYS,
    DATAMODULES,
    RECIPES,
    RENAMED,
    Recipe,
    find_recipe,
    list_models,
    make_recipe,
    read_yaml,
)

# What a card may say of the trainer: numbers, no classes and no folders.
TRAINER_OF_CARD = (
    "max_epochs",
    "precision",
    "gradient_clip_val",
    "accumulate_grad_batches",
    "val_check_interval",
    "check_val_every_n_epoch",
)
# JSON is refused where it is read, with a sentence of its own.
TABLE_SUFFIXES = (
    *(".csv", ".tsv", ".txt", ".data", ".parquet", ".pq", ".gz"),
    *(".jsonl", ".ndjson", ".json"),
)
#: The network that is taken for data where none is named.
DEFAULT_MODELS = {DATAMODULES["csv"]: "tabular_net"}


def default_model(data: str | None) -> str | None:
    """Return the name of the network for data where none is named; None if there is none."""
    if data is None or data in RENAMED:
        return None
    is_table = Path(data).suffix.lower() in TABLE_SUFFIXES
    return DEFAULT_MODELS.get(DATAMODULES["csv"] if is_table else DATAMODULES.get(data, data))


def choose_recipe(
    name: str | None = None,
    configs: Sequence[str | Path] = (),
    *,
    data: str | None = None,
    weights: str | None = None,
    pretrained: bool = False,
) -> Recipe:
    """Return the recipe of a run: a name's, with what was chosen besides.

    Args:
        name: A name of the zoo or a recipe file. May be left out with `configs` or `weights`.
        configs: Files with settings; the later ones win.
        data: Other data: a name such as `mnist`, the path of a table, or a datamodule's class path.
        weights: What to start from: a name, a run directory or a weights file. Without a name, the
            recipe is that of their card.
        pretrained: Start from the weights that the zoo ships for this name.

    Raises:
        UserError: If there is no such recipe, no such data, or no such weights.
    """
    content: dict[str, Any] = {}
    own: dict[str, Any] = {}  # arguments of the network that are the user's
    path = None
    if name is None and weights is not None and not configs:
        content = _recipe_of_card(weights, data)
    if name is not None:
        recipe = find_recipe(name)
        path = recipe.path
        if path is None or path.parent != RECIPES:
            own |= recipe.model["init_args"]
        content = {k: getattr(recipe, k) for k in Recipe.__dataclass_fields__ if k != "path"}
    for config in configs:
        changes = _merge({}, read_yaml(expand_home(config)))
        content, path = _merge(content, changes), None
        own |= _arguments_in(changes.get("model"))
        may_name(content)
    content.setdefault("name", Path(configs[-1]).stem if configs else "")
    recipe = make_recipe(content, path)
    if data is not None:
        recipe = replace(recipe, data=other_data(data, recipe))
    start = {"source": weights} if weights is not None else recipe.weights
    if pretrained and start is None:
        if recipe.name not in list_models():
            raise UserError(
                f"The zoo ships no weights for '{recipe.name}', a recipe of your own: say what to "
                "start from with --weights NAME, RUN or FILE."
            )
        start = {"source": pretrained_path(recipe.name, tell=False).stem}
    if start is None:
        return recipe
    return start_from_weights(replace(recipe, weights=start), own)


def start_from_weights(recipe: Recipe, own: Mapping[str, Any] | None = None) -> Recipe:
    """Return a recipe with the structure of the weights that its training starts from.

    Args:
        recipe: The recipe, which names its weights. How the network learns stays its own, and so
            does its dropout.
        own: Arguments of the network that the user gave, those of the recipe if None. They stay
            too; `zoo.transfer.load_backbone` refuses what of them contradicts the weights.

    Raises:
        UserError: If there are no such weights, they have another sha256 than the recipe says, or
            they are of another class of network.
    """
    weights = recipe.weights or {}
    path = weights_path(weights["source"])
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    start = {"sha256": found, **weights}
    if start["sha256"] != found:
        raise UserError(
            f"This run started from {start['source']} with the sha256 {start['sha256'][:12]}...; "
            f"now it has {found[:12]}.... To start from that one, remove the sha256 from the "
            "configuration."
        )
    model = recipe.model
    with trusting([model["class_path"]]):  # the user's, or that of a card, which was checked
        structure = read_structure(path)
        check_spec(structure, object, partial(class_in_data, place=f"'{path}'"))
    if structure["class_path"] != model["class_path"]:
        classes = (s["class_path"].rpartition(".")[2] for s in (structure, model))
        raise UserError(
            "The weights '{}' are of a {}, not of a {}: they cannot be a start for it.".format(
                start["source"], *classes
            )
        )
    own = model["init_args"] if own is None else own
    arguments = {k: v for k, v in structure["init_args"].items() if "dropout" not in k}
    dropout = {k: v for k, v in model["init_args"].items() if "dropout" in k}
    # The structure is the weights': conv_net's own have a hidden layer that its document lacks.
    model = {**model, "init_args": {**arguments, **dropout, **own}}
    return replace(recipe, weights=start, model=model)


def _arguments_in(model: Any) -> dict[str, Any]:
    arguments = model.get("init_args") if isinstance(model, dict) else None
    return arguments if isinstance(arguments, dict) else {}  # what is none is said later


def _recipe_of_card(weights: str, data: str | None) -> dict[str, Any]:
    """Return the recipe of the card beside weights, which may be anybody's.

    What it names must be the zoo's or allowed, and a user who names the data's class allows it; the
    trainer's callbacks and all folders to write to are left out.
    """
    path = card_path(weights_path(weights))
    content = {**read_card(path).recipe, "weights": None}
    model = content.get("model")
    if isinstance(model, dict) and isinstance(model.get("init_args"), dict):
        # Where the card's network was begun from is nothing to what begins with its own weights.
        arguments = {k: v for k, v in model["init_args"].items() if k != "weights"}
        content["model"] = {**model, "init_args": arguments}
    recipe = make_recipe(content)  # a class without arguments may be its path alone
    if data is not None:
        recipe = replace(recipe, data=other_data(data, recipe))
    with trusting([recipe.data["class_path"]] if data is not None else ()):
        for key in CLASS_KEYS:
            if spec := getattr(recipe, key):
                check_spec(spec, object, partial(class_in_data, place=f"'{path}'"))
                content[key] = spec
    arguments = {k: v for k, v in recipe.data["init_args"].items() if k != "cache_dir"}
    content["data"] = {**recipe.data, "init_args": arguments}
    content["trainer"] = {k: v for k, v in recipe.trainer.items() if k in TRAINER_OF_CARD}
    return content


def other_data(chosen: str, recipe: Recipe) -> ClassSpec:
    """Return class path and arguments of the data that a user chose for a recipe.

    Args:
        chosen: A name such as `mnist`, the path of a table, or a datamodule's class path.
        recipe: The recipe: its own arguments are kept if it is of the same class, else its batch
            size alone.

    Raises:
        UserError: If there are no such data.
    """
    arguments: dict[str, Any] = {}
    if chosen in RENAMED:
        raise UserError(f"--data {chosen} is called --data {RENAMED[chosen]}.")
    if chosen in DATAMODULES:
        class_path = DATAMODULES[chosen]
    elif Path(chosen).suffix.lower() in TABLE_SUFFIXES:
        class_path, arguments = DATAMODULES["csv"], {"path": chosen}
    elif "." in chosen:
        class_path = chosen
    else:
        raise unknown("data", chosen, DATAMODULES)
    own = recipe.data.get("init_args", {})
    if recipe.data["class_path"] == class_path:
        kept = own
    else:
        kept = {k: v for k, v in own.items() if k == "batch_size" and isinstance(v, int)}
        if kept and class_path not in DATAMODULES.values() and not takes(class_path, "batch_size"):
            kept = {}
    return {"class_path": class_path, "init_args": {**kept, **arguments}}


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Merge settings; `model: {hidden_dim: 3}` stands for its init_args."""
    merged = dict(base)
    for key, value in change.items():
        if key in CLASS_KEYS and isinstance(value, dict):
            if "class_path" not in value and "init_args" not in value:
                beside = ("interval", "frequency") if key == "lr_scheduler" else ()
                arguments = {k: v for k, v in value.items() if k not in beside}
                value = {k: v for k, v in value.items() if k in beside} | {"init_args": arguments}
            old = merged.get(key) or {}
            same = value.get("class_path", old.get("class_path")) == old.get("class_path")
            old = old if same else {}
            both = [old.get("init_args") or {}, value.get("init_args") or {}]
            if not all(isinstance(arguments, dict) for arguments in both):
                raise UserError(f"`init_args:` of `{key}:` is not a mapping of settings.")
            arguments = {**both[0], **both[1]}
            value = {**old, **value, "init_args": arguments}
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            value = {**merged[key], **value}
        merged[key] = value
    return merged
