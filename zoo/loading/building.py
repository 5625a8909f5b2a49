"""A network from what a file says of it: kinds and sizes are checked before they cost anything."""

import inspect
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as registration

from datamodules.plain import misfit
from datamodules.spec import DataSpec
from zoo.errors import UserError
from zoo.loading.checkpoints import DAMAGED

# Layers and parameters that a network may have for each tensor that its file holds, and besides: a
# linear layer without bias is followed by a normalization, an activation and dropout.
PARTS_PER_TENSOR, MORE_PARTS = 16, 1000


#: What DistributedDataParallel and torch.compile put before the names of all parameters.
WRAPPERS = ("module.", "_orig_mod.")


class _TooManyPartsError(Exception):
    """A network has more layers than what its file holds can be of."""


def check_arguments(network: type, arguments: Mapping[str, Any], place: str) -> None:
    """Refuse arguments of other kinds than a network's constructor takes.

    Raises:
        UserError: If one is, or is not known.
    """
    function = network.__init__  # type: ignore[misc]
    known = inspect.signature(function).parameters
    open_ended = any(p.kind == p.VAR_KEYWORD for p in known.values())
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError):  # a hint that only a type checker can read
        hints = {}
    for name, value in arguments.items():
        if name not in known and not open_ended:
            raise UserError(f"{place} does not fit {network.__name__}: it takes no {name}.")
        if name in hints and (problem := misfit(value, hints[name], name)):
            raise UserError(f"{place} does not fit {network.__name__}: {problem}.")


def sketch(
    network: Callable[..., nn.Module],
    spec: DataSpec,
    arguments: Mapping[str, Any],
    tensors: int,
    place: str,
) -> nn.Module | None:
    """Build a network without its numbers, which so costs next to nothing.

    Args:
        network: Its class.
        spec: The data that it is for.
        arguments: What else it is made with.
        tensors: How many its file holds.
        place: Where that is, for errors.

    Returns:
        The network with shapes alone; None for a class of the user's that cannot be built so.

    Raises:
        UserError: If it cannot be made, or has far more layers than the file has tensors.
    """
    try:
        with torch.device("meta"), _at_most(PARTS_PER_TENSOR * tensors + MORE_PARTS):
            return network(spec, **arguments)
    except UserError:
        raise
    except _TooManyPartsError as error:
        raise UserError(
            f"{place} holds {tensors} tensors, which are not those of the network that it "
            "describes: that has many more layers."
        ) from error
    except DAMAGED as error:
        own = not getattr(network, "__module__", "").startswith("zoo.")
        if own or getattr(network, "holds_others", False):
            return None
        raise UserError(f"{place} describes a network that cannot be made: {error}.") from error


@contextmanager
def _at_most(parts: int) -> Iterator[None]:
    """Stop the making of a network at its first layer or parameter beyond so many."""
    left = parts

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise _TooManyPartsError

    handles = [
        registration.register_module_module_registration_hook(count),
        registration.register_module_parameter_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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


def check_fit(
    network: type[nn.Module],
    content: Mapping[str, Any],
    place: str,
    given: Collection[Any] = (),
    changed: Mapping[str, Any] | None = None,
) -> None:
    """Refuse a checkpoint of another network before one of its size is made.

    Args:
        network: The class that is to be made of it.
        content: The checkpoint's.
        place: Where that is, for errors.
        given: Arguments that the caller gives by position: then nothing can be said before.
        changed: Arguments that the caller gives by name, in the place of the checkpoint's.

    Raises:
        UserError: If it does not fit.
    """
    changed = changed or {}
    known = set(inspect.signature(network).parameters)
    hparams = content.get("hyper_parameters") or {}
    if given or "hparams_file" in changed or not isinstance(hparams, Mapping):
        return
    arguments = {k: v for k, v in {**hparams, **changed}.items() if k in known}
    if "spec" not in arguments:
        return
    spec = DataSpec.of(arguments.pop("spec"))
    check_arguments(network, {k: v for k, v in arguments.items() if k not in changed}, place)
    state = content["state_dict"]
    sketched = sketch(network, spec, arguments, len(state), place)
    if sketched is None:
        return
    if mismatch := describe_mismatch(sketched.state_dict(), dict(unwrapped(state, sketched))):
        raise UserError(f"{place} does not fit {network.__name__}: {mismatch}")


def unwrapped(state: Mapping[str, Any], model: nn.Module) -> Mapping[str, Any]:
    """Return the parameters of a compiled or a DDP-wrapped network by the network's own names."""
    own = model.state_dict()
    while state:
        # A wrapper's name stands before all names; a network may have a `module` of its own.
        wrapper = next(iter(state)).partition(".")[0] + "."
        if wrapper not in WRAPPERS or not all(
            name.startswith(wrapper) and name not in own for name in state
        ):
            break
        state = {name.removeprefix(wrapper): value for name, value in state.items()}
    return state
