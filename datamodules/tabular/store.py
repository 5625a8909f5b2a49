"""Where a table's numbers live: in memory while small, else in a memory-mapped cache on disk."""

import contextlib
import errno
import hashlib
import json
import mmap
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from datamodules.errors import UserError

# Raise it whenever what a cache holds changes its meaning.
FORMAT = 1
# Tables whose numbers take more than this are cached; smaller ones are read in 0.3 s anyway.
CACHE_FROM = 16 << 20
ROWS, TARGETS, META = "rows.f32", "targets.f64", "table.json"


@dataclass
class Report:
    """What happened while reading, for the profile.

    Args:
        files: The files read.
        rows: Rows in them.
        columns: Columns in them.
        missing_target: Rows left out because their target is missing.
        dropped: Columns left out, with the reason.
        unreadable: Cells read as missing by column: their number and the first one.
        infinite: Infinite cells, read as missing, by column.
        unlike_training: What a network made with another table reads otherwise than it is meant.
        notes: Everything else, as sentences.
    """

    files: list[str] = field(default_factory=list)
    rows: int = 0
    columns: int = 0
    missing_target: int = 0
    dropped: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, list[Any]] = field(default_factory=dict)
    infinite: dict[str, int] = field(default_factory=dict)
    unlike_training: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Table:
    """A table as numbers, whole, before it is split.

    Args:
        rows: (N, features) float32, NaN where a value is missing: numeric features, then the codes
            of categories, numbered as the chunks of the file bring them.
        targets: (N, targets) float64, codes for categories.
        columns: The feature columns, as `Column.as_dict` gives them.
        numeric: The names of the numeric features.
        categories: The values of every category column, in the order of their codes.
        target_columns: The target columns; with `values` if they are categories.
        parts: Role (`all`, `train`, `val` or `test`), first and last row + 1 of every file.
        split_values: The values of the split column, whose codes are then the last target.
        report: What happened while reading.
        mapped: Whether the rows are on disk.
    """

    rows: np.ndarray
    targets: np.ndarray
    columns: list[dict[str, Any]]
    numeric: list[str]
    categories: dict[str, list[str]]
    target_columns: list[dict[str, Any]]
    parts: list[list[Any]]
    split_values: list[str]
    report: Report
    mapped: bool = False


class MemoryWriter:
    """Collects a table's chunks in memory."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []

    def write(self, rows: np.ndarray, targets: np.ndarray) -> None:
        """Add a chunk."""
        self._rows.append(rows)
        self._targets.append(targets)

    def restart(self) -> None:
        """Forget all chunks."""
        self._rows.clear()
        self._targets.clear()

    def finish(self, description: dict[str, Any]) -> Table:
        """Return the table."""
        return _table(np.concatenate(self._rows), np.concatenate(self._targets), description)

    def discard(self) -> None:
        """Do nothing: memory goes by itself."""


class CacheWriter:
    """Writes a table's chunks to a folder that appears under its name only when complete.

    Args:
        folder: The cache's folder.
        expected: Bytes that it will take, to see beforehand that it fits.
        files: The files that it is read from, as `fingerprint` gives them. Caches of what they
            were before, which nothing reads again, are removed when this one is complete.

    Raises:
        UserError: If the disk is full, or the folder cannot be written.
    """

    def __init__(self, folder: Path, expected: int, files: list[list[Any]]) -> None:
        self.folder, self.expected, self.files = folder, expected, files
        with self._trouble_named():
            folder.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(folder.parent).free < expected:
                raise OSError(errno.ENOSPC, "full")
            self._temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
            self._open()

    def _open(self) -> None:
        self._rows = (self._temporary / ROWS).open("wb")
        self._targets = (self._temporary / TARGETS).open("wb")

    def write(self, rows: np.ndarray, targets: np.ndarray) -> None:
        """Add a chunk."""
        with self._trouble_named():
            self._rows.write(np.ascontiguousarray(rows, dtype=np.float32).data)
            self._targets.write(np.ascontiguousarray(targets, dtype=np.float64).data)

    def restart(self) -> None:
        """Forget all chunks."""
        self._close()
        self._open()

    def finish(self, description: dict[str, Any]) -> Table:
        """Put the cache in its place, in one step, and return the table."""
        with self._trouble_named():
            self._close()
            meta = {**description, "report": asdict(description["report"]), "format": FORMAT}
            meta["files"] = self.files
            meta["bytes"] = [(self._temporary / n).stat().st_size for n in (ROWS, TARGETS)]
            (self._temporary / META).write_text(json.dumps(meta))
            with contextlib.suppress(OSError):  # another process may put the same one there
                shutil.rmtree(self.folder, ignore_errors=True)
                self._temporary.replace(self.folder)
        table = load(self.folder)
        self.discard()
        _remove_outdated(self.folder.parent, self.files)
        if table is None:
            raise UserError(f"The cache {self.folder} vanished; run again, or use --data.cache no.")
        return table

    def discard(self) -> None:
        """Remove what is not complete."""
        with contextlib.suppress(OSError):
            self._close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _close(self) -> None:
        self._rows.close()
        self._targets.close()

    @contextlib.contextmanager
    def _trouble_named(self) -> Any:
        try:
            yield
        except OSError as error:
            if hasattr(self, "_temporary"):
                self.discard()
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                free = shutil.disk_usage(_existing(self.folder)).free
                trouble = (
                    f"No space for the table's cache in {self.folder.parent}: it takes about "
                    f"{self.expected >> 20} MB and {free >> 20} MB are free. Free some"
                )
            else:
                trouble = (
                    f"The table's cache cannot be written to {self.folder.parent} "
                    f"({error.strerror}). Make it writable"
                )
            raise UserError(
                f"{trouble}, name another folder with --data.cache_dir, or keep the table in "
                "memory with --data.cache no."
            ) from error


def _remove_outdated(folder: Path, files: list[list[Any]]) -> None:
    """Remove caches of these files as they were before they changed."""
    now = {path: state for path, *state in files}
    for meta in folder.glob(f"*/{META}"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            cached = json.loads(meta.read_text())["files"]
            if any(path in now and now[path] != state for path, *state in cached):
                shutil.rmtree(meta.parent, ignore_errors=True)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def default_folder() -> Path:
    """Return the folder for tables in the user's cache folder."""
    return user_cache_path("lightning-zoo", appauthor=False) / "tables"


def fingerprint(files: list[Path]) -> list[list[Any]]:
    """Return what tells that a file changed: its path, size and time of change."""
    states = []
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}.") from error
        states.append([str(file.resolve()), state.st_size, state.st_mtime_ns])
    return states


def key(files: list[list[Any]], options: dict[str, Any]) -> str:
    """Return the name of the cache for files, as `fingerprint` gives them, read with options."""
    text = json.dumps([FORMAT, files, options], sort_keys=True, default=str)
    return f"{Path(files[0][0]).stem[:40]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def load(folder: Path) -> Table | None:
    """Map a cache into memory; None if there is none or it is not whole."""
    try:
        meta = json.loads((folder / META).read_text())
        sizes = [(folder / name).stat().st_size for name in (ROWS, TARGETS)]
        if meta.pop("format") != FORMAT or meta.pop("bytes") != sizes:
            return None
        meta.pop("files", None)
        meta["report"] = Report(**meta["report"])
        targets = len(meta["target_columns"]) + bool(meta["split_values"])
        features = len(meta["numeric"]) + len(meta["categories"])
        return _table(
            _map(folder / ROWS, np.float32, features),
            _map(folder / TARGETS, np.float64, targets),
            meta,
            mapped=True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _map(path: Path, dtype: type, width: int) -> np.ndarray:
    # Copy on write: torch wants writable memory, and the file stays as it is.
    return np.memmap(path, dtype=dtype, mode="c").reshape(-1, width)


def _table(
    rows: np.ndarray, targets: np.ndarray, meta: dict[str, Any], mapped: bool = False
) -> Table:
    report = meta["report"]
    report = Report(**report) if isinstance(report, dict) else report
    return Table(rows, targets, mapped=mapped, **{**meta, "report": report})


def release(rows: np.ndarray) -> None:
    """Give mapped pages back to the system, which keeps them as long as nothing else needs them."""
    mapped: Any = rows
    while mapped is not None and not isinstance(mapped, mmap.mmap):
        mapped = getattr(mapped, "_mmap", None) or getattr(mapped, "base", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
