"""Plain values of a file, held against type hints: a stranger's file holds anything anywhere."""

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, Union


def misfit(value: Any, hint: Any, name: str) -> str:
    """Say what in a plain value is not as its type hint says.

    Args:
        value: As JSON, YAML or a checkpoint gives it.
        hint: Built-in types, lists, dictionaries, unions, literals; a dataclass or a TypedDict for
            a dictionary with those keys. Hints that say nothing of plain values fit all.
        name: What the value is called.

    Returns:
        A sentence without its full stop, such as `hidden_dim is a text, not a whole number`;
        nothing if all of it fits.
    """
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        found = [misfit(value, part, name) for part in parts]
        return "" if not all(found) else found[0]
    if origin is Literal:
        wanted = ", ".join(map(str, parts))
        known = isinstance(value, type(parts[0])) and value in parts
        return "" if known else f"{name} is none of {wanted}"
    if typing.is_typeddict(hint) or is_dataclass(hint):
        return _misfit_in_record(value, hint, name)
    kind = origin or hint
    if kind in (list, tuple, Sequence, Iterable):
        if not isinstance(value, (list, tuple)):
            return _other(value, "a list", name)
        inner = parts[0] if parts else Any
        return next(filter(None, (misfit(v, inner, f"a part of {name}") for v in value)), "")
    if kind in (dict, Mapping):
        if not isinstance(value, Mapping):
            return _other(value, "a mapping", name)
        inner = parts[1] if parts else Any
        return next(filter(None, (misfit(v, inner, f"{name}.{k}") for k, v in value.items())), "")
    if kind in NAMES and not _is(value, kind):
        return _other(value, NAMES[kind], name)
    return ""


NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    types.NoneType: "nothing",
}


def _is(value: Any, kind: Any) -> bool:
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind)


def _misfit_in_record(value: Any, hint: Any, name: str) -> str:
    if not isinstance(value, Mapping):
        return _other(value, "a mapping", name)
    hints = typing.get_type_hints(hint)
    required: set[str] = set(getattr(hint, "__required_keys__", ()))
    if is_dataclass(hint):
        defaults = [(f.name, f.default, f.default_factory) for f in fields(hint)]
        required = {n for n, *given in defaults if given == [MISSING, MISSING]}
        if unknown := value.keys() - hints.keys():
            return f"{name} has a {min(map(str, unknown))}, which is unknown"
    if missing := required - value.keys():
        return f"{name} has no {min(missing)}"
    pairs = ((value[key], hints[key], f"{name}.{key}") for key in hints if key in value)
    return next(filter(None, (misfit(*pair) for pair in pairs)), "")


def _other(value: Any, wanted: str, name: str) -> str:
    found = next((NAMES[kind] for kind in NAMES if _is(value, kind)), None)
    found = found or ("a mapping" if isinstance(value, Mapping) else "a list")
    return f"{name} is {found}, not {wanted}"
