"""Recipes: a network, how it learns, and the data it is paired with.

Importing it imports no torch.
"""

import fnmatch
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from datamodules.folders import expand_home
from zoo.errors import UserError, unknown
from zoo.learning import SETTINGS, ClassSpec
from zoo.loading.own_modules import may_name
from zoo.names import checked_name

RECIPES = Path(__file__).parent / "recipes"
PRETRAINED = Path(__file__).parent / "pretrained"

#: Datamodules by the name that `--data` takes.
DATAMODULES = {
    "mnist": "datamodules.MNIST",
    "fashion_mnist": "datamodules.FashionMNIST",
    "images": "datamodules.ImageFiles",
    "xor": "datamodules.LogicGate",
    "fizzbuzz": "datamodules.FizzBuzz",
    "blobs": "datamodules.GaussianBlobs",
    "csv": "datamodules.Tabular",
    "tabular": "datamodules.Tabular",
    "text": "datamodules.TextCSV",
}
#: What data were called before version 0.2.
RENAMED = {"generated": "blobs"}
#: The recipe's keys that name a class, and where a bare name is looked up.
CLASS_KEYS = {
    "model": "",
    "data": "",
    "optimizer": "torch.optim",
    "lr_scheduler": "torch.optim.lr_scheduler",
}
#: Characters in a recipe or configuration; the zoo's own have two thousand at most.
LARGEST_YAML = 10_000_000
#: Whose weights a run may end with.
SELECTIONS = ("best", "lowest_loss", "last")


@dataclass(frozen=True)
class Recipe:
    """A network with its data, optimizer, schedule and trainer, as a YAML file has them.

    Attributes:
        name: `name` or `name.tag`.
        path: The file.
        model: Class path and arguments of the network.
        data: Class path and arguments of the datamodule it is paired with.
        learning: How the network learns, as `zoo.learning.Learning` has it.
        optimizer: Class path and arguments, or None for Adam.
        lr_scheduler: Class path and arguments, or None for a constant learning rate.
        trainer: Arguments of Lightning's Trainer.
        source: The document and section it comes from.
        summary: One line.
        note: Where the document is silent or wrong, and what is done about it.
        select: Whose weights a run ends with: those with the `best` validation metric, those with
            the `lowest_loss` (of a classifier once its temperature is fitted, which tells more
            where few rows validate), or the `last` ones, as the documents' plain loops do.
        seed_everything: Seed of everything that is drawn.
        weights: Name or path (`source`) and `sha256` of the weights that training starts from.
    """

    name: str
    path: Path | None
    model: ClassSpec
    data: ClassSpec
    learning: dict[str, Any] = field(default_factory=dict)
    optimizer: ClassSpec | None = None
    lr_scheduler: ClassSpec | None = None
    trainer: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    summary: str = ""
    note: str = ""
    select: str = "best"
    seed_everything: int = 0
    weights: dict[str, str] | None = None


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
        path = expand_home(name)
        if not path.is_file():
            raise UserError(f"There is no recipe file '{name}'.")
        recipe = read_recipe(path)
        may_name(vars(recipe), path.resolve().parent)
        return recipe
    if name in RENAMED:
        raise UserError(f"The data '{name}' are called '{RENAMED[name]}'.")
    path = RECIPES / f"{name.removesuffix('.documented')}.yaml"
    # The name may be longer than a file's can be.
    if path.parent != RECIPES or path not in RECIPES.iterdir():
        raise unknown("model", name[:100], list_models(), "`--list` shows them all.")
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
    checked_name(content.get("name", ""), place)
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
        known = ["class_path", "init_args"]
        known += ["interval", "frequency"] if key == "lr_scheduler" else []
        for name in spec:
            if name not in known:
                raise unknown(f"key in `{key}:` of {place} called", name, known)
        checked[key] = {**spec, "class_path": class_path, "init_args": spec.get("init_args") or {}}
    checked["learning"] = content.get("learning") or {}
    groups = {"trainer": checked["trainer"], "learning": checked["learning"]}
    groups |= {f"{k}: init_args": checked[k]["init_args"] for k in CLASS_KEYS if checked.get(k)}
    for key, group in groups.items():
        if not isinstance(group, dict):
            raise UserError(f"`{key}:` in {place} is not a mapping of settings.")
    for setting in SETTINGS:
        if setting in checked["model"]["init_args"]:
            raise UserError(f"{place} sets {setting} under `model:`; it stands under `learning:`.")
    if content.get("select", SELECTIONS[0]) not in SELECTIONS:
        raise unknown("selection of weights called", str(content["select"]), SELECTIONS)
    if not isinstance(content.get("seed_everything", 0), int):
        raise UserError(f"`seed_everything:` in {place} is not a whole number.")
    if (start := content.get("weights")) is not None:
        start = {"source": start} if isinstance(start, str) else start
        if not isinstance(start, dict) or not {"source"} <= set(start) <= {"source", "sha256"}:
            raise UserError(f"`weights:` in {place} needs `source:` with a name, a run or a file.")
        checked["weights"] = {key: str(value) for key, value in start.items()}
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
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(
            f"'{path}' cannot be read as YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"'{path}' is not a mapping of settings.")
    size = 0
    try:  # an alias may stand for what it is in, or for ten that stand for ten others each
        for part in json.JSONEncoder(skipkeys=True, default=str).iterencode(content):
            size += len(part)
            if size > LARGEST_YAML:
                raise UserError(f"'{path}' holds more than {LARGEST_YAML:,} characters.")
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' has an alias inside of what it stands for.") from error
    return content
