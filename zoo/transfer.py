"""Networks for new data that begin with weights of other data."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import Tensor

from datamodules.memory import spec_of
from datamodules.spec import DataSpec
from zoo.cards import weights_path
from zoo.errors import UserError, counted
from zoo.hub import is_hub_name
from zoo.loading.building import describe_mismatch
from zoo.module import ZooModule
from zoo.preprocessing import read_the_same
from zoo.vocabularies import with_new_categories
from zoo.weights import load_weights, renumbered, require_same_structure


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
        return data.spec  # type: ignore[attr-defined]
    if read["kind"] == "table":
        source, _ = with_new_categories(source, spec.preprocessing)
    if read["kind"] in ("table", "tokens"):
        if (source.spec.task, source.class_names) != (spec.task, spec.names):
            outputs = len(spec.names) or spec.num_outputs
            source.reset_head(outputs, spec.names or None, spec.task)
        spec = data.follow(source).spec  # type: ignore[attr-defined]
    return spec


def load_backbone(path: str | Path, spec: DataSpec, **overrides: Any) -> tuple[ZooModule, str]:
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
    source = ZooModule.from_pretrained(path)
    named = not (is_hub_name(path) or Path(path).exists())
    name = weights_path(path).stem if named else str(path)
    arguments = {key: value for key, value in source.hparams.items() if key != "spec"}
    require_same_structure(name, arguments, overrides)
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
    loaded = renumbered(loaded, {k: v for k, v in own.items() if k not in rest})
    adapted = ""
    if same_input and spec.kind == "pixels":
        adapted = _adapt_to_images(loaded, own, source.spec.input_shape, spec.input_shape)
    if mismatch := describe_mismatch(own, {**rest, **loaded}):
        raise UserError(f"The weights of '{name}' do not fit this data: {mismatch}")
    model.load_state_dict({**rest, **loaded})
    classes = ", ".join(model.class_names) or counted(model.num_outputs, "output")
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
