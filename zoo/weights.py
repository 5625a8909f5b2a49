"""Weights as safetensors, and the card beside them that says how good they are."""

import hashlib
import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn
from torch.overrides import TorchFunctionMode

from datamodules.folders import expand_home
from zoo.classes import class_at
from zoo.errors import UserError
from zoo.preprocessing import read_the_same
from zoo.registry import FOLLOWS_THE_DATA, LEARNING, told_pretrained_path

if TYPE_CHECKING:
    from datamodules.base import TensorDataModule
    from zoo.module import ZooModule

# One metadata key: with several, their order and so the file's bytes change from save to save.
METADATA_KEY = "zoo"
# What belongs to a training, not to the network; a recipe or the user gives it anew.
TRAINING_ONLY = (
    "optimizer",
    "lr_scheduler",
    "teacher",
    "teacher_weight",
    "temperature",
    "freeze",
    "unfreeze_at_epoch",
    "head_lr",
    "layer_decay",
)


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
        dataset: Name and origin (`real`, `synthetic`, `generated`) of the data, and the files that
            are not the published ones of their name, if any.
        files: MD5 of what is in each of the data's files, by its name.
        split_sizes: Examples in train, val and test.
        metrics: Measured on these very weights, by `metric/split`.
        precision: In which precision they were measured, as Lightning calls it.
        seeds: Over several trainings: `metric/split` to mean, std and the values by seed.
        seed: The seed of these weights.
        epochs: Epochs trained.
        seconds: Training time.
        device: Where that was.
        torch_version: With which torch.
        pretrained: Name (`weights`) and `sha256` of the weights that this training started from;
            empty if from scratch.
        recipe: The whole recipe, as it ran.
        golden_logits: What the shipped weights give for the network's `example_input_array`.
        licence: Of the weights.
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
    seed: int | None = None
    epochs: int | None = None
    seconds: float | None = None
    device: str = ""
    torch_version: str = ""
    pretrained: dict[str, str] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    golden_logits: list[list[float]] = field(default_factory=list)
    licence: str = "Apache-2.0"


def save_weights(model: "ZooModule", path: str | Path, **described: Any) -> Card:
    """Write `path` (.safetensors) and the card beside it (.json).

    Args:
        model: The network.
        path: Where to write the weights; the folder is made.
        described: Fields of the card that only the caller knows, such as `name` and `metrics`.

    Returns:
        The card.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = to_bytes(model)
    path.write_bytes(content)
    card = Card(
        **{
            "name": type(model).__name__,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "parameters": sum(p.numel() for p in model.parameters()),
            "input_shape": list(model.hparams["input_shape"]),
            "class_names": list(model.class_names),
            **described,
        }
    )
    card_path(path).write_text(
        json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    return card


def dataset_of(data: "TensorDataModule") -> dict[str, str]:
    """Return what a card says of the data."""
    described = {"name": type(data).__name__, "origin": data.origin}
    if data.unpublished_files:
        described["unpublished_files"] = ", ".join(data.unpublished_files)
    return described


def to_bytes(model: "ZooModule") -> bytes:
    """Return a network as safetensors, with class and arguments in its metadata."""
    hparams = {k: v for k, v in model.hparams.items() if k not in TRAINING_ONLY}
    described = {"class_path": _class_path(model), "hparams": hparams}
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    return save(tensors, {METADATA_KEY: json.dumps(described, sort_keys=True)})


def load_weights(path: str | Path, **overrides: Any) -> "ZooModule":
    """Make the network that a weights file holds.

    Args:
        path: A .safetensors file, or a run directory with `weights.safetensors`.
        overrides: Arguments of the network to change, such as its `optimizer`.

    Returns:
        The network with its weights, in evaluation mode.

    Raises:
        UserError: If the file is missing, is damaged, is no safetensors file, does not have the
            sha256 of the card beside it, or does not fit the network; or if an override would
            make another network of it. Nothing in it is executed.
    """
    return open_weights(weights_path(path), TRAINING_ONLY, overrides)


def open_weights(path: Path, left_out: Iterable[str], overrides: dict[str, Any]) -> "ZooModule":
    """Make the network that a weights file holds, as `load_weights` does.

    Args:
        path: The .safetensors file.
        left_out: Arguments not to take from the file; they become the network's defaults.
        overrides: Arguments of the network to change.
    """
    from zoo.module import ZooModule

    content = read_verified(path)
    try:
        described = json.loads(read_header(content)["__metadata__"][METADATA_KEY])
        network = class_at(described["class_path"])
        hparams = {k: v for k, v in described["hparams"].items() if k not in left_out}
        state = load(content)
    except (SafetensorError, AttributeError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"'{path}' is not a weights file of this zoo, or is damaged ({error}). Nothing of it "
            "was loaded; get it again, or make it with scripts/fit.py."
        ) from error
    except UserError as error:
        raise UserError(
            f"'{path}' is not a weights file of this zoo, or its network's class is not on the "
            f"path: {error}"
        ) from error
    # Called with a file's arguments, other classes could do anything: subprocess.Popen is one.
    if not (isinstance(network, type) and issubclass(network, ZooModule)):
        raise UserError(f"'{path}' names {described['class_path']}, which is no network.")
    try:
        with _Uninitialised():
            model = network(**{**hparams, **overrides})
    except TypeError as error:  # of an argument that another version of the network takes
        raise UserError(f"'{path}' does not fit {network.__name__}: {error}.") from error
    state = _renumbered(state, model.state_dict())
    mismatch = describe_mismatch(model.state_dict(), state)
    if mismatch:
        raise UserError(f"'{path}' does not fit {type(model).__name__}: {mismatch}")
    _require_same_structure(path, described["hparams"], overrides)
    model.load_state_dict(state)
    return model.eval()


def _require_same_structure(path: Path, made_with: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse arguments that would make another network than the one that weights are of."""
    for name in sorted(made_with.keys() & asked.keys() - {*LEARNING, *FOLLOWS_THE_DATA}):
        made, wanted = (json.loads(json.dumps(v[name], default=str)) for v in (made_with, asked))
        if made != wanted:  # as the file has them, where tuples are lists
            raise UserError(
                f"The weights '{path.stem}' are of a network with {name} {made}, not {wanted}: "
                f"leave {name} out, or train from scratch."
            )


def _renumbered(state: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return tensors by a network's own names if the order alone tells which is which.

    Dropout that is off leaves no layer, so the layers behind it have other numbers than with it.
    """

    def number_and_word(name: str) -> list[tuple[int, str]]:
        return [(int(p), "") if p.isdigit() else (-1, p) for p in name.split(".")]

    def looks(tensors: dict[str, Any], name: str) -> tuple[Any, ...]:
        return tensors[name].shape, *(word for _, word in number_and_word(name))

    own_names, names = (sorted(tensors, key=number_and_word) for tensors in (own, state))
    if [looks(own, name) for name in own_names] != [looks(state, name) for name in names]:
        return state
    return {own_name: state[name] for own_name, name in zip(own_names, names, strict=True)}


class _Uninitialised(TorchFunctionMode):
    """Leaves parameters without first values, as a file overwrites every one: 4 of 14 ms saved.

    Buffers get theirs: one that is not persistent is in no file.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            tensor = args[0] if args else kwargs["tensor"]
            if isinstance(tensor, nn.Parameter):
                return tensor
        return func(*args, **kwargs)


def load_backbone(model: "ZooModule", path: Path) -> str:
    """Load weights into a network for new data: all but what the new data decides.

    The head is taken along only if the classes are the same by name: MNIST and FashionMNIST both
    have ten, so equal counts mean nothing. A regression has none; its head is for the same table.

    Returns:
        A sentence on what was loaded.

    Raises:
        UserError: If the networks are not of one structure.
    """
    source = load_weights(path)
    if type(source) is not type(model):
        raise UserError(
            f"The weights '{path.stem}' are of a {type(source).__name__}, not of a "
            f"{type(model).__name__}: they cannot be a start for it."
        )
    _require_same_structure(path, source.hparams, model.hparams)
    old, new = source.hparams["preprocessing"], model.hparams["preprocessing"]
    same_input = read_the_same(old, new)
    same_task = source.hparams["task"] == model.hparams["task"]
    same_classes = same_task and source.class_names == model.class_names
    same_classes &= bool(model.class_names) or same_input
    left_out = ("class_weights",) if same_classes else ("class_weights", "head.")
    left_out += () if same_input else ("preprocess.", "target_")
    state, own = source.state_dict(), model.state_dict()
    loaded = {k: v for k, v in state.items() if not k.startswith(left_out)}
    loaded = _renumbered(loaded, {k: v for k, v in own.items() if not k.startswith(left_out)})
    rest = {k: v for k, v in own.items() if k.startswith(left_out)}
    mismatch = describe_mismatch(own, {**rest, **loaded})
    if mismatch:
        raise UserError(f"The weights of '{path.stem}' do not fit this data: {mismatch}")
    model.load_state_dict({**rest, **loaded})
    if same_input:
        model.hparams["preprocessing"] = source.hparams["preprocessing"]
    head = "and head" if same_classes else f"with a new head for {', '.join(model.class_names)}"
    return f"pretrained {path.stem}: backbone {head}"


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


def card_path(weights: Path) -> Path:
    """Return where the card of a weights file is: `card.json` in a run, else NAME.json."""
    return weights.with_name(
        "card.json" if weights.name == "weights.safetensors" else f"{weights.stem}.json"
    )


def read_header(content: bytes) -> dict[str, Any]:
    """Return the JSON header of a safetensors file."""
    if len(content) < 8:
        raise ValueError("shorter than its header")
    (length,) = struct.unpack("<Q", content[:8])
    if length > len(content) - 8:
        raise ValueError("its header says it is longer than it is")
    return json.loads(content[8 : 8 + length])


def read_card(path: Path) -> Card:
    """Read a card.

    Raises:
        UserError: If it is not one.
    """
    if not path.exists():
        raise UserError(f"There is no card '{path}' beside the weights: what they are is unknown.")
    try:
        return Card(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"'{path}' is not a card: {error}.") from error


def weights_path(path: str | Path) -> Path:
    """Return the weights file that a file, a run directory or a model's name stands for.

    Where the zoo ships another recipe's weights for that name, that is said on stderr.
    """
    path = expand_home(path)
    if path.is_dir():
        path = path / "weights.safetensors"
        if not path.exists():
            raise UserError(f"There are no weights in '{path.parent}': its run has not finished.")
    elif not path.exists() and len(path.parts) == 1 and path.suffix != ".safetensors":
        return told_pretrained_path(str(path))
    if not path.exists():
        raise UserError(f"There is no weights file '{path}'.")
    if path.suffix != ".safetensors":
        raise UserError(f"'{path}' is not a .safetensors file; other formats are not loaded.")
    return path


def describe_mismatch(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """Say which layers and shapes differ, and what to pass; nothing if all fit."""
    problems = []
    for name in expected.keys() | found.keys():
        if name not in found:
            problems.append(f"{name} {tuple(expected[name].shape)} is missing")
        elif name not in expected:
            problems.append(f"{name} {tuple(found[name].shape)} is not in the network")
        elif expected[name].shape != found[name].shape:
            problems.append(
                f"{name} is {tuple(found[name].shape)} in the file and "
                f"{tuple(expected[name].shape)} in the network"
            )
    if not problems:
        return ""
    advice = "Pass the arguments that the weights were made with"
    if all(problem.startswith("head.") for problem in problems):
        advice += ", or classes=[...] for a new head"
    return f"{'; '.join(sorted(problems)[:4])}. {advice}."


def _class_path(model: "ZooModule") -> str:
    module = type(model).__module__
    if module.startswith("zoo.architectures."):
        module = "zoo.architectures"
    return f"{module}.{type(model).__qualname__}"
