"""Names to recipes, and recipes to networks and datamodules. Importing it imports no torch."""

import fnmatch
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from zoo.classes import class_at
from zoo.errors import DoesNotFitData, UserError, unknown

if TYPE_CHECKING:
    from datamodules.base import TensorDataModule
    from zoo.module import ZooModule
    from zoo.weights import Card

RECIPES = Path(__file__).parent / "recipes"
PRETRAINED = Path(__file__).parent / "pretrained"

#: Datamodules by the name that `--data` takes.
DATAMODULES = {
    "mnist": "datamodules.MNIST",
    "fashion_mnist": "datamodules.FashionMNIST",
    "xor": "datamodules.LogicGate",
    "fizzbuzz": "datamodules.FizzBuzz",
    "generated": "datamodules.Generated",
    "csv": "datamodules.Tabular",
    "tabular": "datamodules.Tabular",
    "text": "datamodules.TextCSV",
}
#: What a run takes from the data besides the batches.
FOLLOWS_THE_DATA = (
    "input_shape",
    "task",
    "num_outputs",
    "class_names",
    "preprocessing",
    "class_weights",
)
#: The recipe's keys that name a class, and where a bare name is looked up.
CLASS_KEYS = {
    "model": "",
    "data": "",
    "optimizer": "torch.optim",
    "lr_scheduler": "torch.optim.lr_scheduler",
}
#: Whose weights a run may end with.
SELECTIONS = ("best", "lowest_loss", "last")
ClassSpec = dict[str, Any]  # {"class_path": ..., "init_args": {...}}


@dataclass(frozen=True)
class Recipe:
    """A network with its data, optimizer, schedule and trainer, as a YAML file has them.

    Attributes:
        name: `name` or `name.tag`.
        path: The file.
        model: Class path and arguments of the network.
        data: Class path and arguments of the datamodule it is paired with.
        optimizer: Class path and arguments, or None for Adam.
        lr_scheduler: Class path and arguments, or None for a constant learning rate.
        trainer: Arguments of Lightning's Trainer.
        source: The document and section it comes from.
        summary: One line.
        note: Where the document is silent or wrong, and what is done about it.
        select: Whose weights a run ends with: those with the `best` validation metric, those with
            the `lowest_loss` (which tells more where few rows validate), or the `last` ones, as
            the documents' plain loops do.
        seed_everything: Seed of everything that is drawn.
    """

    name: str
    path: Path | None
    model: ClassSpec
    data: ClassSpec
    optimizer: ClassSpec | None = None
    lr_scheduler: ClassSpec | None = None
    trainer: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    summary: str = ""
    note: str = ""
    select: str = "best"
    seed_everything: int = 0


def list_models(pattern: str = "*", pretrained: bool = False) -> list[str]:
    """Return the names of the zoo's recipes, sorted.

    Args:
        pattern: A glob pattern, such as `*mnist*`.
        pretrained: Only those with weights in the package.
    """
    if pretrained:
        names = {
            path.name.removesuffix(".safetensors") for path in PRETRAINED.glob("*.safetensors")
        }
    else:
        names = {path.stem for path in RECIPES.glob("*.yaml")}
    return sorted(name for name in names if fnmatch.fnmatch(name, pattern))


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a name, or of a YAML file of the user's.

    Args:
        name: `name`, `name.tag`, or the path of a file ending in .yaml. A file's own folder is
            searched for the classes that it names.

    Raises:
        UserError: If there is none, with the nearest names; or if the file is no recipe.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(f"There is no recipe file '{name}'.")
        folder = str(path.resolve().parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        return read_recipe(path)
    path = RECIPES / f"{name.removesuffix('.documented')}.yaml"
    if not path.is_file():
        raise unknown("model", name, list_models(), "`--list` shows them all.")
    return read_recipe(path)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file and check its keys."""
    content = read_yaml(path)
    content.setdefault("name", path.stem)
    return make_recipe(content, path)


def make_recipe(content: dict[str, Any], path: Path | None = None) -> Recipe:
    """Make a recipe of a file's content.

    Raises:
        UserError: If a key is unknown or missing.
    """
    place = f"recipe '{path}'" if path else "the configuration"
    for key in content:
        if key not in Recipe.__dataclass_fields__:
            raise unknown(f"key in {place} called", key, Recipe.__dataclass_fields__)
    checked = {**content, "trainer": content.get("trainer") or {}, "path": path}
    for key, module in CLASS_KEYS.items():
        spec = content.get(key)
        if spec is None and key in ("optimizer", "lr_scheduler"):
            continue
        spec = {"class_path": spec} if isinstance(spec, str) else spec
        if not isinstance(spec, dict) or not isinstance(spec.get("class_path"), str):
            raise UserError(f"{place} needs `{key}:` with a `class_path:` and its `init_args:`.")
        class_path = spec["class_path"]
        if "." not in class_path and module:  # as `--optimizer Adam` has it
            class_path = f"{module}.{class_path}"
        checked[key] = {"class_path": class_path, "init_args": spec.get("init_args") or {}}
    groups = {"trainer": checked["trainer"]}
    groups |= {f"{key}: init_args": checked[key]["init_args"] for key in ("model", "data")}
    for key, group in groups.items():
        if not isinstance(group, dict):
            raise UserError(f"`{key}:` in {place} is not a mapping of settings.")
    if content.get("select", SELECTIONS[0]) not in SELECTIONS:
        raise unknown("selection of weights called", str(content["select"]), SELECTIONS)
    if not isinstance(content.get("seed_everything", 0), int):
        raise UserError(f"`seed_everything:` in {place} is not a whole number.")
    return Recipe(**checked)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        UserError: If it cannot be read, or holds something else.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if not path.is_file():
        raise UserError(f"There is no file '{path}'.")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            f"'{path}' cannot be read as YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"'{path}' is not a mapping of settings.")
    return content


def instantiate(spec: ClassSpec, **overrides: Any) -> Any:
    """Make the object that `class_path` and `init_args` describe, and those inside them."""

    def resolve(value: Any) -> Any:
        if isinstance(value, dict) and "class_path" in value:
            return instantiate(value)
        return [resolve(v) for v in value] if isinstance(value, list) else value

    arguments = {k: resolve(v) for k, v in spec.get("init_args", {}).items()}
    return class_at(spec["class_path"])(**{**arguments, **overrides})


def data_spec(name: str, recipe: Recipe | None = None) -> ClassSpec:
    """Return class path and arguments of a datamodule by name; it keeps a recipe's batch size."""
    if name not in DATAMODULES:
        raise unknown("data", name, DATAMODULES)
    if recipe and recipe.data["class_path"] == DATAMODULES[name]:
        return recipe.data
    kept = {"batch_size"} & set((recipe.data if recipe else {}).get("init_args", {}))
    arguments = {key: recipe.data["init_args"][key] for key in kept} if recipe else {}
    return {"class_path": DATAMODULES[name], "init_args": arguments}


def create_datamodule(name: str, **overrides: Any) -> "TensorDataModule":
    """Make the datamodule of that name, or the one that a network is paired with.

    Args:
        name: `mnist`, `fashion_mnist`, ..., or the name of a model.
        overrides: Arguments of the datamodule.
    """
    if name in DATAMODULES:
        return instantiate(data_spec(name), **overrides)
    return instantiate(find_recipe(name).data, **overrides)


def described_by(datamodule: "TensorDataModule") -> dict[str, Any]:
    """Return the arguments of a network that follow the data."""
    described = {key: getattr(datamodule, key) for key in FOLLOWS_THE_DATA}
    return {**described, "input_shape": list(described["input_shape"])}


def create_model(
    name: str,
    pretrained: bool = False,
    *,
    classes: list[str] | None = None,
    num_classes: int | None = None,
    datamodule: "TensorDataModule | None" = None,
    **overrides: Any,
) -> "ZooModule":
    """Make a network of the zoo, with its recipe's optimizer, ready for `Trainer.fit`.

    Args:
        name: A name of `list_models()`, or the path of a recipe file.
        pretrained: Load the weights that the zoo ships.
        classes: Names of the classes of a new task. With `pretrained` this always gives a new,
            untrained head, also when the number of classes is the same as before.
        num_classes: Their number, instead of their names.
        datamodule: Data to fit the network to; by default the data of its recipe.
        overrides: Arguments of the network, such as `hidden_dim=256`.

    Returns:
        The network, ready for `Trainer.fit`; a pretrained one in evaluation mode until then.

    Raises:
        UserError: If there is no such network, or no weights for it.
    """
    recipe = find_recipe(name)
    if classes is not None and num_classes not in (None, len(classes)):
        raise UserError(f"classes names {len(classes)} classes, but num_classes is {num_classes}.")
    count = len(classes) if classes is not None else num_classes
    if pretrained:
        from zoo.weights import load_weights

        if datamodule is not None:
            raise UserError(
                "Weights follow the data they were made with: pass classes=[...] for a new head "
                "instead of datamodule."
            )
        model = load_weights(pretrained_path(name), **_recipe_arguments(recipe), **overrides)
        if count is not None:
            known = model.class_names
            model.reset_head(count, classes)
            print(
                f"{name}: new head for {count} classes, untrained; the weights knew "
                f"{', '.join(known)}.",
                file=sys.stderr,
            )
        return model
    described = described_by(datamodule or instantiate(recipe.data))
    arguments = {**described, **recipe.model.get("init_args", {}), **_recipe_arguments(recipe)}
    network = class_at(recipe.model["class_path"])
    model = None
    while model is None:
        try:
            model = network(**{**arguments, **overrides})
        except DoesNotFitData as error:
            # What the recipe took for its own data is not for others, unless the user insists.
            if overrides.keys() & error.usual.keys() or error.usual.items() <= arguments.items():
                raise
            arguments |= error.usual
    if count is not None:
        model.reset_head(count, classes)
    return model


def _recipe_arguments(recipe: Recipe) -> dict[str, Any]:
    return {"optimizer": recipe.optimizer, "lr_scheduler": recipe.lr_scheduler}


def pretrained_path(name: str) -> Path:
    """Return the weights that the zoo ships for a name: its own, else tuned, else documented."""
    for candidate in (name, f"{name}.tuned", f"{name}.documented"):
        path = PRETRAINED / f"{candidate}.safetensors"
        if path.exists():
            return path
    find_recipe(name)
    known = ", ".join(list_models(pretrained=True)) or "none"
    raise UserError(f"The zoo has no weights for {name}; it has them for {known}.")


def model_card(name: str) -> "Card":
    """Return the card of shipped weights: how good they are, and how that was measured."""
    from zoo.weights import card_path, read_card

    return read_card(card_path(pretrained_path(name)))
