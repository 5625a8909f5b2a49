"""Tables that are in no file of lines yet, written down as one: standard input and JSON lines."""

import csv
import functools
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TextIO

from datamodules.errors import UserError

STANDARD_INPUT, COPY = "-", "standard-input"
# So many bytes tell whether the first line is a JSON object; longer lines are none of a table.
FIRST_LINE = 1 << 20
_WORDS: dict[object, str] = {True: "true", False: "false"}
_NESTED = (
    "is JSON lines, but '{}' holds lists or objects, and a table has one value in a cell: write "
    "what is in it as columns of its own, or leave it out"
)


@functools.cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    """Return the folder of what was written down; it goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="zoo-tables-")


def _new_file(name: str) -> Path:
    return Path(tempfile.mkdtemp(dir=_folder().name)) / name


def is_written_down(path: Path) -> bool:
    """Say whether a file was made here, so that another process cannot read it again."""
    return _folder.cache_info().currsize > 0 and Path(_folder().name) in path.parents


def standard_input() -> Path:
    """Return standard input as a file: a pipe can be read only once, and a table is read twice.

    Raises:
        UserError: If there is nothing in it.
    """
    return _copy_of(sys.stdin)


@functools.cache
def _copy_of(stream: TextIO) -> Path:
    file = _new_file(COPY)
    if not stream.isatty():
        with file.open("wb") as copy:
            shutil.copyfileobj(stream.buffer, copy)
    if not file.exists() or not file.stat().st_size:
        raise UserError("Nothing is in standard input, from which `-` reads: `cat FILE | ...`.")
    return file


def is_json_lines(file: IO[bytes]) -> bool:
    """Say whether a file holds JSON objects, one in a line; JSON in another form is none.

    Args:
        file: Its bytes, decompressed; the first two lines are read.
    """
    first, second = file.readline(FIRST_LINE), b""
    while first and not first.strip():
        first = file.readline(FIRST_LINE)
    while not second.strip() and (line := file.readline(FIRST_LINE)):
        second = line
    try:
        found = json.loads(first.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return False
    if not isinstance(found, dict) or not found:
        return False
    nested = any(isinstance(value, (dict, list)) for value in found.values())
    # A single object of lists is a whole table in one line: JSON.
    return second.lstrip().startswith(b"{") if second.strip() else not nested


def as_csv(path: Path, file: IO[bytes]) -> Path:
    """Write JSON lines down as CSV; what one row lacks is missing in it.

    Args:
        path: The file, for its name.
        file: Its bytes, decompressed.

    Returns:
        The CSV, of the same name, but for what says that it is compressed, in another folder.

    Raises:
        UserError: If a line is broken, or a column holds lists or objects.
    """
    name = re.sub(r"\.(gz|zip|bz2|xz)$", "", path.name, flags=re.IGNORECASE)
    rows, target = _new_file("rows.csv"), _new_file(name)
    names: dict[str, int] = {}  # the columns' places, in the order in which they come
    opened = functools.partial(open, encoding="utf-8", errors="replace", newline="")
    with opened(rows, "w") as copy:
        csv.writer(copy).writerows(_cells(path, file, names))
    with opened(rows) as copy, opened(target, "w") as table:
        writer = csv.writer(table)
        writer.writerow(names)
        writer.writerows(row + [""] * (len(names) - len(row)) for row in csv.reader(copy))
    rows.unlink()
    return target


def _cells(path: Path, file: IO[bytes], names: dict[str, int]) -> Iterator[list[str]]:
    """Yield each line's values as they are written, in the columns' places so far."""
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line.decode("utf-8-sig"), parse_int=str, parse_float=str)
        except ValueError as error:
            raise UserError(
                f"{path} is JSON lines, but line {number} is broken ({error})."
            ) from error
        if not isinstance(found, dict):
            raise UserError(
                f"{path} is JSON lines, but line {number} is no object of names and values."
            )
        row = [""] * len(names)
        for name, value in found.items():
            if isinstance(value, (dict, list)):
                raise UserError(f"{path} {_NESTED.format(name)}.")
            if names.setdefault(name, len(names)) == len(row):
                row.append("")
            row[names[name]] = "" if value is None else _WORDS.get(value, str(value))
        yield row
