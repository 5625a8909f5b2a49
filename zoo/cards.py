"""Shipped and saved weights as files: their names, and the card that says how good they are.

Importing it imports no torch.
"""

import functools
import hashlib
import json
import math
import struct
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datamodules.files import atomic_write
from datamodules.folders import expand_home
from datamodules.plain import misfit
from zoo.errors import UserError
from zoo.hub import download, is_hub_name
from zoo.learning import ClassSpec
from zoo.loading.classes import check_names
from zoo.names import checked_name
from zoo.recipe import PRETRAINED, find_recipe, list_models

# One metadata key: with several, their order and so the file's bytes change from save to save.
METADATA_KEY = "zoo"


@dataclass(frozen=True)
class Card:
    """What weights are and how good they are, as measured.

    Attributes:
        name: `name` or `name.tag` of the recipe.
        summary: One line on the network.
        source: The document and section it comes from.
        sha256: Of the weights file.
        bytes: Its size.
        parameters: How many numbers learn.
        input_shape: Shape of one raw example.
        class_names: Names of the classes, in the order of the logits.
        dataset: Name and origin (`real`, `exact`, `synthetic`) of the data, and the files that
            are not the published ones of their name, if any.
        files: MD5 of what is in each of the data's files, by its name.
        split_sizes: Examples in train, val and test.
        metrics: Measured on these very weights, by `metric/split`.
        precision: In which precision they were measured, as Lightning calls it.
        seeds: Over several trainings: `metric/split` to mean, std and the values by seed.
        calibration: What the temperature that was fitted on validation data (`temperature`) does
            to each split: `nll` and `ece` (15 bins of equal mass), before and after, and the share
            of its examples that are `known`; in `auroc` how well these are told from inputs of
            other kinds.
        decision: Of a table's network how a probability becomes a class, or how wide an interval
            is, and what that does to each split (`zoo.fitted.decisions`).
        importance: Of a table's columns, the most important first: by how much shuffling one
            raises the log loss of validation rows, or lowers the R2 of a regression.
        seed: The seed of these weights.
        epochs: Epochs trained.
        kept_epoch: The epoch, from 1, whose weights these are.
        seconds: Training time.
        device: Where that was.
        torch_version: With which torch.
        weights: Name or path (`source`) and `sha256` of the weights that this training started
            from; empty if from scratch.
        recipe: The whole recipe, as it ran.
        golden_logits: What the shipped weights give for the network's `example_input_array`.
        license: Of the weights.
    """

    name: str
    sha256: str
    bytes: int
    parameters: int
    input_shape: list[int]
    class_names: list[str]
    summary: str = ""
    source: str = ""
    dataset: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    split_sizes: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    precision: str = "32-true"
    seeds: dict[str, dict[str, Any]] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    decision: dict[str, Any] = field(default_factory=dict)
    importance: dict[str, float] = field(default_factory=dict)
    seed: int | None = None
    epochs: int | None = None
    kept_epoch: int | None = None
    seconds: float | None = None
    device: str = ""
    torch_version: str = ""
    weights: dict[str, str] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    golden_logits: list[list[float]] = field(default_factory=list)
    license: str = "Apache-2.0"


def read_card(path: Path) -> Card:
    """Read a card.

    Raises:
        UserError: If it is not one.
    """
    if not path.exists():
        raise UserError(f"There is no card '{path}' beside the weights: what they are is unknown.")
    try:
        content = json.loads(path.read_text("utf-8"))
        if "licence" in content:  # so it was called before version 0.2
            content["license"] = content.pop("licence")
        if (content.get("dataset") or {}).get("origin") == "generated":
            content["dataset"]["origin"] = "exact"
        words = {word: float(word.replace(".", "")) for word in (".nan", ".inf", "-.inf")}
        metrics = content.get("metrics", {}).items()
        content["metrics"] = {key: words.get(value, value) for key, value in metrics}
        if problem := misfit(content, Card, "it"):
            raise ValueError(problem)
        card = Card(**content)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"'{path}' is not a card: {str(error)[:300]}.") from error
    checked_name(card.name, f"the card '{path}'")
    return card


def write_card(card: Card, path: Path) -> None:
    """Write a card as JSON, which has no numbers that are infinite or none: words stand there.

    They are YAML's (`.inf`), so a recipe in a card reads as it ran; `read_card` reads the metrics.
    """
    text = json.dumps(_with_words(asdict(card)), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")


def _with_words(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_words(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_words(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return value


def card_path(weights: Path) -> Path:
    """Return where the card of a weights file is: `card.json` in a run, else NAME.json."""
    return weights.with_name(
        "card.json" if weights.name == "weights.safetensors" else f"{weights.stem}.json"
    )


def weights_path(path: str | Path) -> Path:
    """Return the weights file that a file, a run directory, a model's or a hub's name stands for.

    Where the zoo ships another recipe's weights for that name, that is said on stderr.
    """
    if is_hub_name(path):
        return download(str(path))
    path = expand_home(path)
    if path.is_dir():
        path = path / "weights.safetensors"
        if not path.exists():
            raise UserError(f"There are no weights in '{path.parent}': its run has not finished.")
    elif not path.exists() and len(path.parts) == 1 and path.suffix != ".safetensors":
        return pretrained_path(str(path))
    if not path.exists():
        raise UserError(f"There is no weights file '{path}'.")
    if path.suffix != ".safetensors":
        raise UserError(f"'{path}' is not a .safetensors file; other formats are not loaded.")
    return path


def read_verified(path: Path) -> bytes:
    """Read a weights file and check it against the card beside it, if there is one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}.") from error
    if not card_path(path).exists():
        return content
    digest, expected = hashlib.sha256(content).hexdigest(), read_card(card_path(path)).sha256
    if digest != expected:
        raise UserError(
            f"'{path}' is not the file that its card describes: its sha256 is {digest[:12]}..., "
            f"not {expected[:12]}.... It is damaged or was changed; get it again."
        )
    return content


def pretrained_path(name: str, tell: bool = True) -> Path:
    """Return the weights that the zoo ships for a name: its own, else tuned, else documented.

    Args:
        name: A name of the zoo.
        tell: Say on stderr, once, if they are another recipe's.
    """
    for candidate in (name, f"{name}.tuned", f"{name}.documented"):
        path = PRETRAINED / f"{candidate}.safetensors"
        if path.parent == PRETRAINED and path.exists():
            if tell and path.stem.removesuffix(".documented") != name.removesuffix(".documented"):
                _say_once(f"{name}: the zoo's weights for it are those of {path.stem}.")
            return path
    find_recipe(name)
    known = ", ".join(list_models(pretrained=True)) or "none"
    raise UserError(f"The zoo has no weights for {name}; it has them for {known}.")


@functools.cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr)


def read_description(content: bytes) -> dict[str, Any]:
    """Return what a weights file says of its network: class path, arguments and data.

    Args:
        content: The file, of which only the header is read.

    Raises:
        ValueError: If it is no safetensors file.
        KeyError: If it is none of this zoo's.
    """
    if len(content) < 8:
        raise ValueError("shorter than its header")
    (length,) = struct.unpack("<Q", content[:8])
    if length > len(content) - 8:
        raise ValueError("its header says it is longer than it is")
    try:
        described = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][METADATA_KEY])
    except RecursionError as error:
        raise ValueError("its header is nested without end") from error
    if "hparams" in described:
        raise ValueError("made before version 0.2, by which it must be made again")
    return described


def read_structure(path: Path) -> ClassSpec:
    """Return class path and arguments of the network that a weights file holds.

    Raises:
        UserError: If it is not one of this zoo's files, or of a version before 0.2.
    """
    try:
        described = read_description(read_verified(path))
        spec = {"class_path": described["class_path"], "init_args": described["arguments"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{path}' is not a weights file of this zoo, or is damaged.") from error
    check_names(spec, f"'{path}'")
    return spec
