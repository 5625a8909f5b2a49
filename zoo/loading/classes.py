"""Classes by their dotted paths: who may name which.

Recipes, configurations and command lines are the user's: they name any class of the kind that the
place expects (`class_at`). Weights, cards and checkpoints are data that may come from anywhere:
they name what the zoo defines, or what the caller allows by name (`class_in_data`).
"""

import contextlib
import difflib
import importlib
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import PurePath
from typing import Any, Literal

from zoo.errors import UserError
from zoo.loading.own_modules import DOTTED, own_modules

#: Where the classes are that data may name, and in which package each must have been defined.
PACKAGES = {
    "zoo.architectures": "zoo.architectures",
    "zoo.optimization": "zoo.optimization",
    "datamodules": "datamodules",
    "torch.optim": "torch.optim",
}
Finder = Callable[[str, Any], type]
_trusted: ContextVar[dict[str, type | None] | None] = ContextVar("trusted", default=None)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_CLASS_IN_HINT = re.compile(r"\b(?!(?:None|Literal|Optional|Union|Any|Sequence)\b)[A-Z]\w*")


def class_at(path: str, kind: type | tuple[type, ...] = object) -> type:
    """Return the class at a dotted path that the user named.

    Args:
        path: Such as `my_network.Net`. A module of the user's own is found where the recipe is that
            names it, and in the working directory, but never instead of an installed one.
        kind: What it must be a subclass of.

    Raises:
        UserError: If there is no such module or class, or it is of another kind; an error inside
            the module is passed on.
    """
    module_name, _, class_name = str(path).rpartition(".")
    if not module_name:
        raise UserError(f"'{path}' is not the dotted path of a class, such as my_module.{path}.")
    own_modules.name([module_name.partition(".")[0]])
    try:
        module = importlib.import_module(module_name)
    except (ModuleNotFoundError, TypeError) as error:  # TypeError: a relative path, `..module`
        missing = getattr(error, "name", None)
        if missing and not f"{module_name}.".startswith(f"{missing}."):
            raise
        raise UserError(
            f"There is no module '{module_name}' for the class '{path}'. A module of your own is "
            "found where its recipe is, and in the working directory."
        ) from error
    own_modules.check(module)
    if not hasattr(module, class_name):
        close = difflib.get_close_matches(class_name, dir(module), n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"There is no class '{class_name}' in '{module_name}'.{hint}")
    found = getattr(module, class_name)
    return _of_kind(found, path, kind)


def takes(path: str, name: str) -> bool:
    """Tell whether the class that the user named has an argument of this name, or hands it on."""
    parameters = inspect.signature(class_at(path)).parameters.values()
    return any(name == p.name or p.kind == p.VAR_KEYWORD for p in parameters)


def class_in_data(path: Any, kind: type | tuple[type, ...], place: str) -> type:
    """Return the class that weights, a card or a checkpoint names.

    The name is checked before anything is imported, so that a stranger's file runs nothing.

    Args:
        path: What stands in the file.
        kind: What the class must be a subclass of.
        place: Where that is, for the error.

    Raises:
        UserError: If neither the zoo defines it nor the caller allows it, or it is no `kind`.
    """
    trusted = _trusted.get() or {}
    if isinstance(path, str) and path in trusted:
        return _of_kind(trusted[path] or class_at(path), path, kind)
    advice = ""
    if isinstance(path, str) and DOTTED.fullmatch(path):
        for package, home in PACKAGES.items():
            if path.startswith(f"{package}."):
                found = class_at(path, kind)
                # What one of our modules has imported is not ours.
                if f"{found.__module__}.".startswith(f"{home}."):
                    return found
        advice = (
            f" If it is yours, or you have read it, allow it by name: --trust {path} on the "
            f'command line, trust=["{path}"] in Python.'
        )
    raise UserError(
        f"{place} names {path!r}, which the zoo does not define, so nothing of it was "
        f"imported.{advice}"
    )


def check_names(value: Any, place: str) -> None:
    """Refuse settings from a card that name a class anywhere which data may not name.

    Nothing is imported; `class_in_data` looks closer when it is.
    """
    trusted = _trusted.get() or {}
    for spec in _specs_in(value):
        path = spec["class_path"]
        known = isinstance(path, str) and path.startswith(tuple(f"{p}." for p in PACKAGES))
        if not known and path not in trusted:
            raise UserError(f"{place} names {path!r}, which the zoo does not define.")
        check_names([spec.get("init_args"), spec.get("dict_kwargs")], place)


def _of_kind(found: Any, path: str, kind: type | tuple[type, ...]) -> type:
    if isinstance(found, type) and issubclass(found, kind):
        return found
    kinds = kind if isinstance(kind, tuple) else (kind,)
    expected = " or ".join(k.__name__ for k in kinds if k is not object) or "class"
    raise UserError(f"'{path}' is no {expected}.")


@contextlib.contextmanager
def trusting(trust: Iterable[str | type] | str | type = ()) -> Iterator[None]:
    """Let weights, cards and checkpoints name these classes, too, as long as the block lasts.

    Args:
        trust: Class paths such as `my_network.Net`, or the classes themselves.
    """
    token = _trusted.set(dict(_trusted.get() or {}))
    try:
        allow(trust)
        yield
    finally:
        _trusted.reset(token)


def allow(trust: Iterable[str | type] | str | type) -> None:
    """Let weights, cards and checkpoints name these classes, until the block around it ends."""
    trust = [trust] if isinstance(trust, (str, type)) else trust
    named = {
        entry if isinstance(entry, str) else f"{entry.__module__}.{entry.__qualname__}": (
            None if isinstance(entry, str) else entry
        )
        for entry in trust
    }
    _trusted.set({**(_trusted.get() or {}), **named})


# Classes inside the arguments of others


def check_spec(spec: Any, kind: type | tuple[type, ...], find: Finder = class_at) -> type:
    """Look up the class that `class_path` names and those in its arguments; call none of them.

    Args:
        spec: A mapping with `class_path` and `init_args`.
        kind: What the class must be a subclass of.
        find: How a path and a kind become a class: `class_at`, or one that trusts less.

    Returns:
        The class.

    Raises:
        UserError: If one of them is not of the kind that its place expects.
    """
    found = find(spec["class_path"], kind)
    for group in ("init_args", "dict_kwargs"):
        for name, value in (spec.get(group) or {}).items():
            check_argument(value, found, name, find)
    if find is not class_at and hasattr(found, "check_arguments_in_data"):
        place = getattr(find, "keywords", {}).get("place", "The file")
        found.check_arguments_in_data(spec.get("init_args") or {}, place)
    return found


def check_argument(value: Any, owner: type, name: str, find: Finder = class_at) -> None:
    """Check the classes that an argument names against the type hint of the parameter.

    Args:
        value: The argument, with `class_path` mappings anywhere in it.
        owner: The class whose argument it is.
        name: The parameter.
        find: As for `check_spec`.
    """
    if find is not class_at and _has_text(value) and _takes_code(_hint(owner, name)):
        # The parser would import what a text names, or read it as YAML.
        raise UserError(f"A text stands where `{name}` of {owner.__name__} takes a class.")
    for spec in _specs_in(value):
        kinds = expected_kinds(owner, name)
        if not kinds:
            raise UserError(
                f"'{spec['class_path']}' stands where no class is expected: `{name}` of "
                f"{owner.__name__} has no type hint that is a class of its own."
            )
        check_spec(spec, kinds, find)


def instantiate(
    spec: dict[str, Any],
    kind: type | tuple[type, ...],
    find: Finder = class_at,
    /,
    **overrides: Any,
) -> Any:
    """Make the object that `class_path` and `init_args` describe, and those inside them.

    Nothing is called before every class that is named has been found to be of its place's kind.
    """
    check_spec(spec, kind, find)

    def made(value: Any) -> Any:
        if isinstance(value, dict) and "class_path" in value:
            arguments = {k: made(v) for k, v in (value.get("init_args") or {}).items()}
            return find(value["class_path"], object)(**arguments)
        if isinstance(value, dict):
            return {key: made(v) for key, v in value.items()}
        return [made(v) for v in value] if isinstance(value, list) else value

    arguments = {k: made(v) for k, v in (spec.get("init_args") or {}).items() if k not in overrides}
    return find(spec["class_path"], kind)(**{**arguments, **overrides})


def expected_kinds(owner: type, name: str) -> tuple[type, ...]:
    """Return the classes in the type hint of a class's parameter, such as `nn.Module`."""
    return tuple(_classes_in(_hint(owner, name)))


def _hint(owner: type, name: str) -> Any:
    for base in owner.__mro__:
        function = vars(base).get("__init__")
        if function is None or name not in inspect.signature(function).parameters:
            continue
        try:
            return typing.get_type_hints(function).get(name)
        except (NameError, TypeError):  # a hint that only a type checker can read
            return function.__annotations__.get(name)
    return None


def _takes_code(hint: Any) -> bool:
    """Tell whether a parameter takes objects or functions, which a text would be the path of."""
    if isinstance(hint, str):  # a hint that only a type checker can read, as torch's schedules have
        return bool(_CLASS_IN_HINT.search(_QUOTED.sub("", hint)))
    if typing.get_origin(hint) in (Callable, Literal):
        return typing.get_origin(hint) is Callable
    if isinstance(hint, type) and hint.__module__ != "builtins":
        return not issubclass(hint, PurePath)
    return any(map(_takes_code, typing.get_args(hint)))


def _has_text(value: Any) -> bool:
    """Tell whether a value is a text or a collection with one, besides classes with arguments."""
    if isinstance(value, dict):
        return "class_path" not in value and any(map(_has_text, value.values()))
    return isinstance(value, str) or (isinstance(value, list) and any(map(_has_text, value)))


def _classes_in(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and hint.__module__ != "builtins":
        yield hint
    for part in typing.get_args(hint):
        yield from _classes_in(part)


def _specs_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the outermost mappings with a `class_path`."""
    if isinstance(value, dict) and "class_path" in value:
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _specs_in(part)
