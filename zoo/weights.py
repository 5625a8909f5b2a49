"""Weights as safetensors, with what the network is; its training is no part of them."""

import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from datamodules.files import atomic_write
from datamodules.spec import DataSpec
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
from zoo.errors import UserError
from zoo.fitted.calibration import Calibration
from zoo.fitted.decisions import Decision
from zoo.loading.building import check_arguments, describe_mismatch, sketch
from zoo.loading.checkpoints import DAMAGED
from zoo.loading.classes import class_in_data, trusting
from zoo.network import Network

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
        network: type[Network] = class_in_data(class_path, Network, f"'{path}'")
        network.check_arguments_in_data(arguments, f"'{path}'")
    check_arguments(network, arguments, f"'{path}'")
    wanted = {**arguments, **overrides}
    if sketched := sketch(network, spec, wanted, len(state), f"'{path}'"):
        _fitting(state, sketched, path)
    require_same_structure(path.stem, arguments, overrides)
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
    state = renumbered(state, model.state_dict())
    if mismatch := describe_mismatch(model.state_dict(), state):
        raise UserError(f"'{path}' does not fit {type(model).__name__}: {mismatch}")
    return state


def require_same_structure(name: str, made_with: dict[str, Any], asked: dict[str, Any]) -> None:
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


def renumbered(state: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
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


def _class_path(model: Network) -> str:
    module = type(model).__module__
    if module.startswith("zoo.architectures."):
        module = "zoo.architectures"
    return f"{module}.{type(model).__qualname__}"
