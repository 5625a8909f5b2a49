"""Weights as safetensors, with what the network is; its training is no part of them."""

import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from datamodules.files import atomic_write
from datamodules.memory import spec_of
from datamodules.spec import DataSpec
from zoo.building import check_arguments, describe_mismatch, sketch
from zoo.calibration import Calibration
from zoo.cards import (
    METADATA_KEY,
    Card,
    card_path,
    read_card,
    read_description,
    read_verified,
    weights_path,
    write_card,
)
from zoo.checkpoints import DAMAGED
from zoo.classes import class_in_data, trusting
from zoo.decisions import Decision
from zoo.errors import UserError
from zoo.hub import is_hub_name
from zoo.network import Network
from zoo.preprocessing import read_the_same
from zoo.vocabularies import with_new_categories

#: What a network has that is fitted to its weights on validation data, by its attribute: how it is
#: made of plain values, and what it gives as `plain()`. The tensors know nothing of it.
FITTED: dict[str, Any] = {"calibration": Calibration, "decision": Decision}


def save_weights(model: Network, path: str | Path, **described: Any) -> Card:
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
    # Weights without a card can be read; with another's they are refused.
    drop_card = functools.partial(card_path(path).unlink, missing_ok=True)
    with atomic_write(path, before_rename=drop_card) as file:
        file.write(content)
    card = Card(
        **{
            "name": type(model).__name__,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "parameters": sum(p.numel() for p in model.parameters()),
            "input_shape": model.spec.plain()["input_shape"],
            "class_names": model.class_names,
            **described,
        }
    )
    write_card(card, card_path(path))
    model.card = card
    return card


def dataset_of(data: LightningDataModule) -> dict[str, str]:
    """Return what a card says of the data."""
    described = {"name": type(data).__name__, "origin": getattr(data, "origin", "real")}
    if unpublished := getattr(data, "unpublished_files", ()):
        described["unpublished_files"] = ", ".join(unpublished)
    return described


def to_bytes(model: Network) -> bytes:
    """Return a network as safetensors, with its class, arguments and data in the metadata."""
    arguments = {key: value for key, value in model.hparams.items() if key != "spec"}
    described = {
        "class_path": _class_path(model),
        "arguments": arguments,
        "spec": model.spec.plain(),
    }
    fitted = {name: getattr(model, name) for name in FITTED}
    if any(value is not None for value in fitted.values()):
        described["fitted"] = {k: v.plain() for k, v in fitted.items() if v is not None}
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    return save(tensors, {METADATA_KEY: json.dumps(described, sort_keys=True)})


def load_weights(
    path: str | Path, *, trust: Iterable[str | type] = (), **overrides: Any
) -> Network:
    """Make the network that a weights file holds.

    Args:
        path: A .safetensors file, a run directory with `weights.safetensors`, a name of the zoo,
            or one of the Hugging Face Hub, `hf-hub:user/name`.
        trust: Networks of your own that the file may name: classes, or paths such as
            `my_network.Net`. Of others than these and the zoo's nothing is imported.
        overrides: Arguments of the network to change.

    Returns:
        The network with its weights, in evaluation mode. It learns as its task does by default
        until it is told otherwise (`ZooModule.learn`).

    Raises:
        UserError: If the file is missing, is damaged, is no safetensors file, does not have the
            sha256 of the card beside it, names a class that is not allowed, or does not fit the
            network. Nothing in it is executed.
    """
    path = weights_path(path)
    content = read_verified(path)
    try:
        described = read_description(content)
        class_path, arguments = described["class_path"], dict(described["arguments"])
        spec, state = DataSpec.of(described["spec"]), load(content)
        given = described.get("fitted", {})
        fitted = {name: kind.of(given[name]) for name, kind in FITTED.items() if name in given}
    except (SafetensorError, *DAMAGED) as error:
        raise UserError(
            f"'{path}' is not a weights file of this zoo, or is damaged ({error}). Nothing of it "
            "was loaded; get it again, or make it with scripts/fit.py."
        ) from error
    # Called with a file's arguments, other classes could do anything: subprocess.Popen is one.
    with trusting(trust):
        network = class_in_data(class_path, Network, f"'{path}'")
        network.check_arguments_in_data(arguments, f"'{path}'")
    check_arguments(network, arguments, f"'{path}'")
    wanted = {**arguments, **overrides}
    if sketched := sketch(network, spec, wanted, len(state), f"'{path}'"):
        _fitting(state, sketched, path)
    _require_same_structure(path.stem, arguments, overrides)
    try:
        with torch.random.fork_rng(devices=[]):  # the first values are overwritten
            model = network(spec, **wanted)
    except TypeError as error:  # of an argument that another version of the network takes
        raise UserError(f"'{path}' does not fit {network.__name__}: {error}.") from error
    model.load_state_dict(_fitting(state, model, path))
    for name, value in fitted.items():
        setattr(model, name, value)
    model.card = read_card(card_path(path)) if card_path(path).exists() else None
    return model.eval()


def _fitting(state: dict[str, Any], model: nn.Module, path: Path) -> dict[str, Any]:
    """Return the tensors of a file by the names of a network, which they must fit."""
    state = _renumbered(state, model.state_dict())
    if mismatch := describe_mismatch(model.state_dict(), state):
        raise UserError(f"'{path}' does not fit {type(model).__name__}: {mismatch}")
    return state


def _require_same_structure(name: str, made_with: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse arguments that would make another network than the one that weights are of.

    Dropout is no part of its structure.
    """
    for argument in sorted(made_with.keys() & asked.keys()):
        made, wanted = (json.loads(json.dumps(v[argument])) for v in (made_with, asked))
        if made != wanted and "dropout" not in argument:  # as the file has them: tuples are lists
            raise UserError(
                f"The weights '{name}' are of a network with {argument} {made}, not {wanted}: "
                f"leave {argument} out, or train from scratch."
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


def read_as_before(data: LightningDataModule, path: str | Path) -> None:
    """Tell pictures in files how weights read theirs, before they are decoded for the first time.

    Args:
        data: Any data; others than pictures in files are left alone.
        path: A weights file, a run directory or a name of the zoo.
    """
    if hasattr(data, "read_like") and getattr(data, "_splits", None) is None:
        spec = load_weights(path).spec
        if spec.kind == "pixels":
            data.read_like(spec)


def follow(data: LightningDataModule, path: str | Path) -> DataSpec:
    """Let data be read by the columns, words or sizes of weights that are to learn from them.

    The classes stay those of the data, and a table's categories that the weights lack get slots.

    Returns:
        What a network for these data must know.
    """
    spec, source = spec_of(data), load_weights(path)
    read = source.spec.preprocessing
    if spec.kind != read["kind"]:
        return spec
    if hasattr(data, "read_like"):  # pictures in files: at the size of the weights, for one
        data.read_like(source.spec)
        return data.spec
    if read["kind"] == "table":
        source, _ = with_new_categories(source, spec.preprocessing)
    if read["kind"] in ("table", "tokens"):
        if (source.spec.task, source.class_names) != (spec.task, spec.names):
            outputs = len(spec.names) or spec.num_outputs
            source.reset_head(outputs, spec.names or None, spec.task)
        spec = data.follow(source).spec
    return spec


def load_backbone(path: str | Path, spec: DataSpec, **overrides: Any) -> tuple[Network, str]:
    """Make a network for new data that begins with the weights of a file.

    All is taken along but what the new data decide. The head is, only if the classes are the same
    by name: MNIST and FashionMNIST both have ten, so equal counts mean nothing.

    Args:
        path: A weights file, a run directory or a name of the zoo.
        spec: The new data.
        overrides: Arguments of the network to change.

    Returns:
        The network, in evaluation mode, and a sentence on what was loaded.

    Raises:
        UserError: If the weights do not fit these data.
    """
    source = load_weights(path)
    named = not (is_hub_name(path) or Path(path).exists())
    name = weights_path(path).stem if named else str(path)
    arguments = {key: value for key, value in source.hparams.items() if key != "spec"}
    _require_same_structure(name, arguments, overrides)
    grown, added = source, list[str]()
    if spec.kind == source.spec.kind == "table":
        grown, added = with_new_categories(source, spec.preprocessing)
    # What is predicted is the head's matter.
    read = [{**s.preprocessing, "target": None} for s in (grown.spec, spec)]
    same_input = read_the_same(*read)
    if same_input and spec.kind == "table":
        source, spec = grown, _in_the_same_units(spec, source.spec)
    if same_input:  # pixels are then scaled as the weights are used to
        target = {k: v for k, v in spec.preprocessing.items() if k == "target"}
        kept = {k: v for k, v in source.spec.preprocessing.items() if k != "target"}
        if spec.kind == "pixels":  # how files are cropped is said by what reads them
            kept = {**spec.preprocessing, **{k: kept[k] for k in ("mean", "std") if k in kept}}
        spec = replace(spec, preprocessing={**kept, **target})
        arguments |= source.arguments_at(spec.input_shape)
    # A regression has no classes: its head is for numbers of the same mean and deviation.
    same_head = (source.spec.task, source.class_names) == (spec.task, spec.names)
    same_head &= source.spec.preprocessing.get("target") == spec.preprocessing.get("target")
    same_head &= bool(source.class_names) or same_input
    model = type(source)(spec, **{**arguments, **overrides})
    new = (() if same_head else ("head.", "target_")) + (() if same_input else ("preprocess.",))
    own, state = model.state_dict(), source.state_dict()
    loaded = {k: v for k, v in state.items() if not k.startswith(new)}
    rest = {k: v for k, v in own.items() if k.startswith(new)}
    loaded = _renumbered(loaded, {k: v for k, v in own.items() if k not in rest})
    adapted = ""
    if same_input and spec.kind == "pixels":
        adapted = _adapt_to_images(loaded, own, source.spec.input_shape, spec.input_shape)
    if mismatch := describe_mismatch(own, {**rest, **loaded}):
        raise UserError(f"The weights of '{name}' do not fit this data: {mismatch}")
    model.load_state_dict({**rest, **loaded})
    classes = ", ".join(model.class_names) or f"{model.num_outputs} outputs"
    head = "and head" if same_head else f"with a new head for {classes}"
    if added and same_input:
        more = ", ..." if len(added) > 3 else ""
        adapted = f"; slots for {len(added)} new categories: {', '.join(added[:3])}{more}"
    return model.eval(), f"weights of {name}: backbone {head}{adapted}"


def adapt_channels(weight: Tensor, channels: int, new: int) -> Tensor:
    """Return weights (out, channels, ...) for other channels, as timm's `in_chans` does.

    For one channel they are summed over the old ones, for several they are repeated and scaled, so
    that a grey image gives the same numbers as before.

    Returns:
        (out, new, rest).
    """
    by_channel = weight.reshape(len(weight), channels, -1)
    if new == 1:
        return by_channel.sum(1, keepdim=True)
    repeats = -(-new // channels)
    return by_channel.repeat(1, repeats, 1)[:, :new] * (channels / new)


def _in_the_same_units(spec: DataSpec, source: DataSpec) -> DataSpec:
    """Return a spec with the scale of the weights' targets, if the same ones are predicted.

    Of another file of one table the mean is a little different: no reason for a new head.
    """
    own, known = (s.preprocessing.get("target", {}) for s in (spec, source))
    same = spec.task == source.task == "regression" and own.get("names") == known.get("names")
    if not (same and known.get("mean")):
        return spec
    return replace(spec, preprocessing={**spec.preprocessing, "target": known})


def _adapt_to_images(
    loaded: dict[str, Any], own: dict[str, Any], source: Sequence[int], shape: Sequence[int]
) -> str:
    """Let the first layer read another number of channels, and say what is read otherwise.

    Args:
        loaded: The tensors of a file; its first layer's is replaced.
        own: Those of the network.
        source: The shape of the images that the file was made for: channels, height, width.
        shape: The shape of the new ones.
    """
    if tuple(source) == tuple(shape) or len(source) != len(shape):
        return ""
    said = ""
    old, new = source[0], shape[0]
    if old != new:
        # A convolution's weights, a linear layer's or a recurrent one's, by channels.
        for name in loaded:
            weight, wanted = loaded[name], own.get(name)
            if wanted is None or wanted.ndim < 2 or weight.shape == wanted.shape:
                continue
            by_channel = adapt_channels(weight, old, new)
            if by_channel.numel() == wanted.numel():
                loaded[name] = by_channel.reshape(wanted.shape)
                said = f", first layer adapted from {old} to {new} channels"
    if tuple(source[1:]) != tuple(shape[1:]):
        sizes = (" x ".join(map(str, s[:0:-1])) for s in (shape, source))
        said += ", reading {} instead of {}".format(*sizes)
    return said


def _class_path(model: Network) -> str:
    module = type(model).__module__
    if module.startswith("zoo.architectures."):
        module = "zoo.architectures"
    return f"{module}.{type(model).__qualname__}"
