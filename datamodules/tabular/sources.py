"""Files that hold tables: finding them, opening them, and looking at their raw bytes once."""

import bz2
import codecs
import contextlib
import csv
import glob
import gzip
import io
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from datamodules.errors import UserError, nearest
from datamodules.folders import expand_home
from datamodules.tabular import incoming

BLOCK = 1 << 22
PACKED_ENDINGS = (".gz", ".zip", ".bz2", ".xz")
PLAIN_ENDINGS = (".csv", ".tsv", ".txt", ".data", ".parquet", ".pq", ".jsonl", ".ndjson")
TABLE_ENDINGS = {e + p for e in ("", *PLAIN_ENDINGS) for p in ("", *PACKED_ENDINGS)} - {""}
# What a broken archive raises, depending on where it is broken.
BROKEN_ARCHIVE = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile)
_QUOTED = re.compile(rb'"[^"]*"')
_BLANK_CODES = np.frombuffer(b" \t\r\n", dtype=np.uint8)
_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


def find_files(path: str | list[str], folders: list[Path] | None = None) -> list[Path]:
    """Turn a path, a glob or a list of them into existing files, in a stable order.

    Standard input (`-`) and JSON lines become files of lines.

    Args:
        path: What the user named.
        folders: Where relative names are looked up besides the working directory.

    Raises:
        UserError: If nothing is there, or a folder is named.
    """
    return [_as_lines(file) for file in _named(path, folders or [])]


def _as_lines(file: Path) -> Path:
    if is_parquet(file):
        return file
    with open_table(file) as opened:
        if not incoming.is_json_lines(opened):
            return file
    with open_table(file) as opened:
        return incoming.as_csv(file, opened)


def _named(path: str | list[str], folders: list[Path]) -> list[Path]:
    names = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    if not names:
        raise UserError("--data.path is an empty list; name at least one file.")
    files: list[Path] = []
    for name in map(str, names):
        if not name.strip():
            raise UserError("--data.path is empty; name a file, or leave it out.")
        if name == incoming.STANDARD_INPUT:
            files.append(incoming.standard_input())
        else:
            files += _find(name, folders)
    return files


def _find(name: str, folders: list[Path]) -> list[Path]:
    for folder in [Path(), *folders]:
        candidate = folder / expand_home(name)
        if candidate.is_dir():
            raise _folder_refused(candidate)
        if candidate.exists():
            if not candidate.is_file():
                raise UserError(
                    f"{candidate} is no regular file: a pipe or a device can be read only once. "
                    "Write what comes out of it into a file first."
                )
            return [candidate]
        if glob.has_magic(name):
            # Path.glob takes no absolute pattern.
            found = sorted(glob.glob(str(candidate), recursive=True))  # noqa: PTH207
            if files := [Path(p) for p in found if Path(p).is_file()]:
                return files
    if glob.has_magic(name):
        raise UserError(f"No file matches '{name}'; check the pattern given to --data.path.")
    parent = expand_home(name).parent
    beside = [p.name for p in parent.iterdir() if p.is_file()] if parent.is_dir() else []
    close = nearest(Path(name).name, beside)
    advice = f" Did you mean {' or '.join(str(parent / c) for c in close)}?" if close else ""
    raise UserError(f"There is no file {name}; check --data.path.{advice}")


def _folder_refused(folder: Path) -> UserError:
    """Return the error for a folder; it suggests only what can be read."""
    inside = [path for path in sorted(folder.iterdir()) if path.is_file()]
    tables = [path for path in inside if _ending(path) in TABLE_ENDINGS]
    if not tables:
        others = sorted({_ending(path) or path.name for path in inside})
        holds = f"only {', '.join(others[:5])}" if others else "nothing"
        return UserError(
            f"{folder} is a folder that holds no table but {holds}; name a file of CSV, TSV, "
            "Parquet or JSON lines."
        )
    several = f", or several with a glob: '{folder / f'*{_ending(tables[0])}'}'"
    return UserError(
        f"{folder} is a folder, not a table; name a file in it, such as {tables[0]}{several}."
    )


def _ending(path: Path) -> str:
    """Return how a file's name ends, without what says that it is compressed."""
    name = path.name.lower()
    packed = next((s for s in PACKED_ENDINGS if name.endswith(s)), "")
    return Path(name.removesuffix(packed)).suffix + packed if packed else path.suffix.lower()


def is_parquet(path: Path) -> bool:
    """Say whether a file is Parquet, by its ending or its first bytes."""
    if path.suffix.lower() in {".parquet", ".pq"}:
        return True
    with _readable(path), path.open("rb") as file:
        return file.read(4) == b"PAR1"


@contextlib.contextmanager
def open_table(path: Path) -> Iterator[IO[bytes]]:
    """Open a text table for reading bytes, decompressed whatever its ending says.

    Raises:
        UserError: If it cannot be read, is a workbook, or a broken or ambiguous archive.
    """
    with _readable(path), contextlib.ExitStack() as stack:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic.startswith(b"PK\x03\x04"):
            archive = stack.enter_context(zipfile.ZipFile(path))
            yield stack.enter_context(archive.open(_only_member(path, archive)))
            return
        for prefix, opener in _OPENERS.items():
            if magic.startswith(prefix):
                yield stack.enter_context(opener(path, "rb"))
                return
        if path.suffix.lower() in PACKED_ENDINGS and magic:
            raise UserError(
                f"{path} ends in {path.suffix} but is not such an archive; rename it if it is "
                "plain text, or fetch it again."
            )
        yield stack.enter_context(path.open("rb"))


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except BROKEN_ARCHIVE as error:
        raise UserError(
            f"{path} is a damaged or incomplete archive ({error}); fetch or compress it again."
        ) from error
    except PermissionError as error:
        raise UserError(f"{path} may not be read; change its permissions.") from error
    except FileNotFoundError as error:
        raise UserError(f"{path} is gone: it was moved or deleted while being read.") from error


def _only_member(path: Path, archive: zipfile.ZipFile) -> str:
    names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX")]
    if "[Content_Types].xml" in names:
        raise UserError(f"{path} is an office workbook; save the sheet as CSV and name that file.")
    if len(names) != 1:
        listing = ", ".join(names[:5]) or "nothing"
        raise UserError(
            f"{path} holds {len(names)} files ({listing}); unpack it and name the table in it."
        )
    if archive.getinfo(names[0]).flag_bits & 1:
        raise UserError(f"{path} is encrypted; unpack it and name the table in it.")
    return names[0]


@dataclass
class Scan:
    """What one pass over a file's bytes tells. Line ends in quotation marks end no line."""

    lines: int = 0
    even: bool = True
    encoding: str = "utf-8"


def scan(path: Path, separator: str, width: int) -> Scan:
    """See, at 700 MB/s, whether every line has so many fields: a parser passes over short ones.

    Raises:
        UserError: If the file holds zero bytes, that is, no text.
    """
    found, read, last, quoted, pending = Scan(), 0, ord("\n"), np.uint8(0), 0
    expected = width - 1 if len(separator) == 1 else width  # separators, or words among blanks
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open_table(path) as file:
        while block := file.read(BLOCK):
            if b"\0" in block:
                raise UserError(
                    f"{path} is not text (a zero byte near byte {read + block.find(0)}); "
                    "export the table as CSV."
                )
            read += len(block)
            found.encoding = found.encoding if _decodes(decoder, block) else "latin-1"
            codes = np.frombuffer(block, dtype=np.uint8)
            if quoted or b'"' in block:
                marks = (codes == ord('"')).view(np.uint8)
                marks[0] ^= quoted
                inside = np.bitwise_xor.accumulate(marks)
                quoted = inside[-1]
                codes = codes[inside == 0]
            ends = np.flatnonzero(codes == ord("\n"))
            if len(separator) == 1:
                places = np.flatnonzero(codes == ord(separator))
            else:
                blank = np.isin(np.append(np.uint8(last), codes), _BLANK_CODES)
                places = np.flatnonzero(blank[:-1] & ~blank[1:])
            counts = np.diff(np.searchsorted(places, ends), prepend=-pending)
            found.even &= bool((counts == expected).all())
            found.lines += len(ends)
            pending += len(places) - int(counts.sum())
            last = codes[-1] if len(codes) else last
    if last != ord("\n"):
        found.lines += 1
        found.even &= pending == expected
    found.even &= not quoted
    if not _decodes(decoder, b"", final=True):
        found.encoding = "latin-1"
    return found


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, final: bool = False) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def records(file: IO[bytes], separator: str) -> Iterator[tuple[int, int, bytes]]:
    """Yield the number of the first line, the number of fields and the bytes of every record.

    A field in quotation marks may hold separators and line ends. Blank lines are passed over.
    """
    mark = separator.encode()
    waiting, first = b"", 0
    for number, line in enumerate(file, start=1):
        if waiting or b'"' in line:
            waiting, first = waiting + line, first or number
            if waiting.count(b'"') % 2 and len(waiting) < BLOCK:
                continue
            record, line_number = waiting, first
            waiting, first = b"", 0
            bare = _QUOTED.sub(b"x", record)
        else:
            record = bare = line
            line_number = number
        if not bare.strip():
            continue
        fields = bare.count(mark) + 1 if len(separator) == 1 else len(bare.split())
        yield line_number, fields, record
    if waiting:
        yield first, _QUOTED.sub(b"x", waiting).count(mark) + 1, waiting


class WellFormed(io.RawIOBase):
    """A table's bytes without the records that have too many or too few fields."""

    def __init__(self, file: IO[bytes], separator: str, fields: int) -> None:
        self._records = (r for _, count, r in records(file, separator) if count == fields)
        self._rest = b""

    def readable(self) -> bool:
        """Return True: this is a stream to read from."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with whole records as far as it goes."""
        while not self._rest:
            block = next(self._records, None)
            if block is None:
                return 0
            self._rest = block
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def head(path: Path, size: int = 1 << 18) -> bytes:
    """Return a file's first bytes, up to the last whole line.

    Raises:
        UserError: If there are none, or they are not text.
    """
    with open_table(path) as file:
        start = file.read(size)
        whole = not file.read(1)
    if not start.strip():
        raise UserError(f"{path} is empty; name a file with a header line and rows.")
    if not start.startswith((b"\xff\xfe", b"\xfe\xff")):
        control = sum(start.count(bytes([b])) for b in (*range(9), *range(14, 32), 127))
        if control > len(start) // 100:
            raise UserError(f"{path} is a binary file, not text; export the table as CSV.")
        if not whole and b"\n" in start:
            start = start[: start.rfind(b"\n") + 1]
    return start


def split_lines(text: str, separator: str, limit: int = 500) -> tuple[list[list[str]], list[int]]:
    """Split the beginning of a table into rows of fields; quotation marks are understood.

    Returns:
        The rows that are not blank, and the number of each, blank ones counted, from 0.
    """
    lines = io.StringIO(text, newline=None)
    if len(separator) > 1:  # a run of blanks
        reader = csv.reader((" ".join(line.split()) for line in lines), delimiter=" ")
    else:
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    rows: list[list[str]] = []
    numbers: list[int] = []
    with contextlib.suppress(csv.Error):  # a field over 128 KB: what was read so far decides
        for number, row in enumerate(reader):
            if any(cell.strip() for cell in row):
                rows.append(row)
                numbers.append(number)
            if len(rows) >= limit:
                break
    return rows, numbers
