"""Where the modules are that a user names: beside the recipe, or in the working directory."""

import contextlib
import inspect
import itertools
import json
import os
import re
import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from zoo.errors import UserError

#: Where the user's modules are, for the processes that a training spawns: they unpickle networks.
INHERITED = "ZOO_OWN_MODULES"


class OwnModules(MetaPathFinder):
    """Finds the modules that a user names, where the recipe is that names them or in the cwd.

    It comes after everything that is installed, and only what the user named, and what these
    modules import in turn, is looked for. A folder on `sys.path` would be everybody's: pandas would
    take a `pyarrow.py` for the package that it can do without.
    """

    def __init__(self) -> None:
        self.named: dict[str, Path | None] = {}  # top-level module -> the recipe's folder
        self.homes: dict[str, Path] = {}  # top-level module -> the folder it was found in

    def name(self, modules: Iterable[str], folder: Path | None = None) -> None:
        """Take note that the user named these modules, in a recipe of this folder."""
        for module in modules:
            if folder is not None or module not in self.named:
                self.named[module] = folder
        if self not in sys.meta_path:
            sys.meta_path.append(self)

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module of the user's is, if it is one."""
        if path is not None:  # in a package, which finds it by itself
            return None
        if name in self.named:
            spec, home = self._search(name, self._folders(name))
        elif (importer := _importer()) in self.homes:
            spec, home = self._search(name, [self.homes[importer]])
        else:
            return None
        if spec is not None and home is not None:
            self.homes[name] = home
            os.environ[INHERITED] = json.dumps({n: str(folder) for n, folder in self.homes.items()})
        return spec

    def check(self, module: ModuleType) -> None:
        """Refuse a module that was loaded for a recipe elsewhere: it is another of that name."""
        name = module.__name__.partition(".")[0]
        if name not in self.homes:
            return
        _, home = self._search(name, self._folders(name))
        if home is not None and home != self.homes[name]:
            raise UserError(
                f"Module '{name}' was loaded from '{self.homes[name]}' before; that in '{home}' "
                "is another one of the same name. Rename it, or use a new process."
            )

    def _folders(self, name: str) -> list[Path]:
        folder = self.named.get(name)
        folders = [] if folder is None else [folder]
        with contextlib.suppress(FileNotFoundError):  # the folder we are in may be gone
            folders.append(Path.cwd())
        return folders

    def _search(self, name: str, folders: Iterable[Path]) -> tuple[ModuleSpec | None, Path | None]:
        for folder in folders:
            if spec := PathFinder.find_spec(name, [str(folder)]):
                return spec, folder
        return None, None


def _importer() -> str:
    """Return the top-level name of the module that is importing something right now."""
    frame = inspect.currentframe()
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name != __name__ and name.partition(".")[0] != "importlib":
            return name.partition(".")[0]
        frame = frame.f_back
    return ""


own_modules = OwnModules()
for _name, _folder in json.loads(os.environ.get(INHERITED, "{}")).items():
    own_modules.name([_name], Path(_folder))
# `my_network.Net`, but no file name with a folder, and no number.
DOTTED = re.compile(r"(?<![\w./\\-])([^\W\d]\w*)(?:\.[^\W\d]\w*)+(?![\w./\\-])")
# The settings that hold class paths; a `path: pyarrow.csv` names no module.
_NAMING = {"class_path", "model", "data", "optimizer", "lr_scheduler", "augment"}
_NAMING |= {"callbacks", "logger", "plugins", "strategy", "profiler", "accelerator"}
_NAMING |= {"init_args.name"}  # of a Backbone, not the recipe's own


def may_name(content: Any, folder: Path | None = None, key: str = "") -> None:
    """Let the modules of all class paths in settings of the user's be found.

    Args:
        content: A recipe or configuration, or a part of it.
        folder: Where its modules are, before the working directory.
        key: The last key on the way to that part.
    """
    if isinstance(content, str):
        if key in _NAMING or "class_path" in content:
            own_modules.name(DOTTED.findall(content), folder)
    elif isinstance(content, dict):
        for name, part in content.items():
            may_name(part, folder, f"{key}.{name}" if key == "init_args" else str(name))
    elif isinstance(content, (list, tuple)):
        for part in content:
            may_name(part, folder, key)


def may_name_in(argv: list[str]) -> None:
    """Let the modules of all class paths on a command line be found, in the working directory."""
    for argument, following in itertools.pairwise([*argv, ""]):
        option, equals, value = argument.partition("=")
        if option.startswith("--"):
            key = option.rpartition(".")[2].strip("-+")
            may_name(value if equals else following, key=key)
