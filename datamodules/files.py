"""Files that are there whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any


class NotWrittenError(OSError):
    """A file could not be written; under its name stands what stood there before."""


@contextlib.contextmanager
def atomic_write(
    path: str | Path,
    mode: str = "wb",
    *,
    before_rename: Callable[[], object] = lambda: None,
    **options: Any,
) -> Iterator[IO[Any]]:
    """Give a file to write to that takes its name only when it is complete and on the disk.

    It is made beside `path`, so that the renaming never crosses a filesystem. Whatever ends the
    program meanwhile, under the name stands what stood there before, or the whole new content.

    Args:
        path: The name that the file gets.
        mode: `wb` or `w`.
        before_rename: Called when the whole content is on the disk and nothing can be short of
            space any more, such as to keep what stands under the name under another one.
        options: What `open` takes besides.

    Raises:
        NotWrittenError: If it cannot be written, such as on a full disk.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # it may be gone meanwhile
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-")
        temporary = Path(name)
        with os.fdopen(handle, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files for their owner alone
        before_rename()
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise NotWrittenError(error.errno, error.strerror, str(path)) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):  # what is wrong has been said
                temporary.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all; the folder is made."""
    with source.open("rb") as content, atomic_write(target) as file:
        shutil.copyfileobj(content, file)


def _sync_folder(folder: Path) -> None:
    """Bring a renaming to the disk, on systems where a folder can be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
