"""Where data are looked up, and who said so."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from datamodules.errors import UserError


def data_folder(data_dir: str | None) -> tuple[Path, str]:
    """Return the folder that data are looked up in, and what names it.

    Args:
        data_dir: The folder that a datamodule was given, if any.

    Returns:
        The folder, and `--data.data_dir` or `ZOO_DATA_DIR`. The latter is empty where nobody named
        a folder, so that it is `data` below the working directory: only there may data that are
        not found be replaced by synthetic ones.

    Raises:
        UserError: If the name is empty, or holds a `~` that stands for no home.
    """
    if data_dir is not None and not str(data_dir).strip():
        raise UserError("--data.data_dir is empty; name the folder with the data, or leave it out.")
    variable = os.environ.get("ZOO_DATA_DIR")
    named_by = "--data.data_dir" if data_dir else "ZOO_DATA_DIR" if variable else ""
    return expand_home(data_dir or variable or "data"), named_by


def expand_home(path: str | Path) -> Path:
    """Return a path with `~` and `~name` put in full.

    Raises:
        UserError: If there is no such home, or none can look whether there is such a path.
    """
    try:
        expanded = Path(path).expanduser()
        expanded.exists()
    except RuntimeError as error:
        raise UserError(f"'{path}' begins with the home of a user who is not known.") from error
    except OSError as error:  # a name that is too long, a folder that may not be searched
        raise UserError(f"'{path}' cannot be looked up: {error.strerror}.") from error
    return expanded


def checksums_of(files: Iterable[str | Path]) -> dict[str, str]:
    """Return the MD5 of each file by its name, with its folder where several have one name."""
    found: dict[str, str] = {}
    for file in map(expand_home, files):
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False))
        name = file.name if file.name not in found else f"{file.parent.name}/{file.name}"
        found[name] = digest.hexdigest()
    return found
