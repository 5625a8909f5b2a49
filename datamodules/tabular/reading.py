"""A table's files as pandas chunks, with every way that reading can fail told in one sentence."""

import contextlib
import io
import re
from collections.abc import Collection, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from datamodules.errors import UserError, counted
from datamodules.tabular import sources
from datamodules.tabular.dialect import MISSING, NO_CLASS_BUT_NONE, Dialect, detect

# 100,000 rows: larger chunks are no faster. Of a file of 1 GB (9,000,000 rows of 12 columns) pandas
# parses chunks in 4.0 s of processor time and 50 MB, polars 2.1 in 3.1 s and 330 MB, pyarrow 26 in
# 6.2 s and 390 MB. With typing and writing polars took 720 MB and 11.2 s, this package 350 MB and
# 10.8 s, scales, splits and profile included; and a batch of 1,024 rows 0.4 ms from columns on disk
# (Arrow's form), 0.01 ms from rows.
CHUNK = 100_000
SAMPLE = 20_000
# Of a table with many columns fewer rows at a time: 5,000,000 numbers are 40 MB.
CELLS = 5_000_000


@dataclass
class ReadOptions:
    """How the user wants the files read; None and "auto" leave it to detection.

    Args:
        separator: What stands between two fields: one character, or comma, semicolon, tab, blank.
        header: "first" or "none" (columns are then numbered from 0).
        encoding: A Python codec.
        decimal: The decimal mark.
        thousands: The thousands mark.
        missing: More words that stand for a missing value.
        bad_rows: "error" or "skip" for rows with too many or too few fields; "refuse" is an error
            that does not offer to skip them.
        expect: Names of which one in the first line shows that it is a header.
    """

    separator: str | None = None
    header: str = "auto"
    encoding: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    missing: tuple[str, ...] = ()
    bad_rows: str = "error"
    expect: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.bad_rows not in ("error", "skip", "refuse"):
            raise UserError(f"--data.bad_rows {self.bad_rows} is neither error nor skip.")
        for name in ("decimal", "thousands"):
            mark = getattr(self, name)
            if mark is not None and (len(mark) != 1 or mark.isalnum()):
                raise UserError(f"--data.{name} {mark!r} is not one mark, such as '.' or ','.")
        if self.decimal is not None and self.decimal == self.thousands:
            raise UserError(f"--data.decimal and --data.thousands are both {self.decimal!r}.")

    @property
    def advice(self) -> str:
        """What to do about a row with too many or too few fields."""
        if self.bad_rows == "refuse":
            return "mend the line."
        return "mend the line, or leave such rows out with --data.bad_rows skip."


class TableFile:
    """One file of a table: its column names at once, its rows in chunks.

    Args:
        path: The file.
        options: How to read it.
        check: Look at all bytes first, for zero bytes, the encoding and rows of another length.

    Raises:
        UserError: If it is no table, or (with `check`) has rows of another length than its header.
    """

    def __init__(self, path: Path, options: ReadOptions, check: bool = True) -> None:
        self.path, self.options = path, options
        self.notes: list[str] = []
        self.skipped = 0
        self.expected_rows = 0
        self._dialect: Dialect | None = None
        if sources.is_parquet(path):
            with _told(path, options.advice):
                parquet = _parquet(path)
                self.columns = [str(c) for c in parquet.schema_arrow.names]
                self.expected_rows = parquet.metadata.num_rows
            return
        with _told(path, options.advice):
            self._dialect = detect(
                path,
                options.separator,
                options.header,
                options.encoding,
                options.decimal,
                options.expect,
            )
            self.columns = self._dialect.names
            self.notes += self._dialect.notes
            if check:
                self._check(self._dialect)

    @property
    def decimal(self) -> str:
        """The decimal mark of the file's texts."""
        return self._dialect.decimal if self._dialect else "."

    @property
    def has_header(self) -> bool:
        """Whether the columns have names; otherwise they are numbered from 0."""
        return self._dialect is None or self._dialect.header

    @property
    def written_columns(self) -> list[str]:
        """The column names as the header has them, to write it again: empty ones, and doubles."""
        return self._dialect.written or self.columns if self._dialect else self.columns

    @property
    def duplicates(self) -> set[str]:
        """The column names that occur more than once."""
        return self._dialect.duplicates if self._dialect else set()

    @property
    def separator(self) -> str:
        """The character between two fields, fit for writing."""
        separator = self._dialect.separator if self._dialect else ","
        return separator if len(separator) == 1 else " "

    def chunks(
        self,
        columns: list[str],
        dtype: dict[str, str] | str | None = None,
        size: int = CHUNK,
        raw: bool = False,
        classes: Collection[str] = (),
    ) -> Generator[pd.DataFrame, None, None]:
        """Yield the rows of the columns, in the order of `columns`.

        Args:
            columns: The columns to read.
            dtype: pandas types by column; a column without one is inferred, chunk by chunk.
            size: Rows in a chunk, at most.
            raw: Leave the cells of a text file as they are written, missing ones too.
            classes: Columns in which the word none is left as it is: it may be a class.
        """
        size = min(size, max(1, CELLS // len(columns)))
        with _told(self.path, self.options.advice):
            if self._dialect is None:
                yield from self._parquet_chunks(columns, size)
                return
            with self._reader(self._dialect, columns, dtype, size, raw, classes) as reader:
                for chunk in reader:
                    yield chunk[columns]

    @contextlib.contextmanager
    def _reader(
        self,
        dialect: Dialect,
        columns: list[str],
        dtype: Any,
        size: int,
        raw: bool,
        classes: Collection[str],
    ) -> Generator[Any, None, None]:
        with sources.open_table(self.path) as opened:
            file: Any = opened
            if self.skipped:
                filtered = sources.WellFormed(file, dialect.separator, len(dialect.names))
                file = io.BufferedReader(filtered, 1 << 20)
            missing: Any = [] if raw else [*MISSING, *self.options.missing]
            if classes and not raw:
                but_none = [*NO_CLASS_BUT_NONE, *self.options.missing]
                missing = {name: but_none if name in classes else missing for name in columns}
            reader = pd.read_csv(
                file,
                sep=dialect.separator,
                header=None,
                names=dialect.names,
                skiprows=dialect.skip,
                usecols=columns,
                index_col=False,
                dtype=dtype,
                chunksize=size,
                encoding=dialect.encoding,
                encoding_errors="replace",
                decimal=dialect.decimal,
                thousands=self.options.thousands,
                na_values=missing,
                keep_default_na=False,
                na_filter=not raw,
                skipinitialspace=not raw,
                low_memory=False,
                engine="c",
            )
            with reader:
                yield reader

    def _parquet_chunks(self, columns: list[str], size: int) -> Generator[pd.DataFrame, None, None]:
        for batch in _parquet(self.path).iter_batches(batch_size=size, columns=columns):
            frame = batch.to_pandas()[columns]
            for name in columns:
                column = frame[name]
                if column.dtype.kind == "M":
                    frame[name] = column.dt.strftime("%Y-%m-%d %H:%M:%S")
                elif column.dtype.kind not in "iuf" and column.dtype != "category":
                    frame[name] = column.astype(object).map(str, na_action="ignore")
            yield frame

    def _check(self, dialect: Dialect) -> None:
        """See that every row has as many fields as there are columns; if not, say which has not."""
        if dialect.encoding == "utf-16":  # two bytes a character; every second one is zero
            self.expected_rows = self.path.stat().st_size // (4 * len(dialect.names))
            return
        width = len(dialect.names)
        found = sources.scan(self.path, dialect.separator, width)
        self.expected_rows = found.lines
        if self.options.encoding is None and dialect.encoding.startswith("utf-8"):
            dialect.encoding = dialect.encoding if found.encoding == "utf-8" else "latin-1"
        if found.even:
            return
        with sources.open_table(self.path) as file:
            lead = 0
            for number, (line, fields, _) in enumerate(sources.records(file, dialect.separator)):
                # The header, and titles above it, may have another number of fields.
                lead += number < dialect.lead and fields == width
                if fields == width or number < dialect.lead:
                    continue
                if self.options.bad_rows != "skip":
                    raise UserError(
                        f"{self.path}, line {line}: {fields} fields where {width} are expected; "
                        f"{self.options.advice}"
                    )
                self.skipped += 1
        if self.skipped:
            dialect.skip = lead  # WellFormed passes on neither blank lines nor such titles
            self.notes.append(
                f"{self.path.name}: {counted(self.skipped, 'row')} left out for a wrong number of "
                "fields"
            )


def _parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"{path} is Parquet, which needs pyarrow: pip install 'lightning-zoo[parquet]'."
        ) from error
    return pyarrow.parquet.ParquetFile(path)


def ahead(chunks: Generator[pd.DataFrame, None, None]) -> Generator[pd.DataFrame]:
    """Read one chunk ahead in a thread: the parser works while the caller does."""
    done = object()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, chunks, done)
        try:
            while (chunk := waiting.result()) is not done:
                waiting = pool.submit(next, chunks, done)
                yield chunk
        finally:
            with contextlib.suppress(Exception):
                waiting.result()
            chunks.close()


_LINE = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")


@contextlib.contextmanager
def _told(path: Path, advice: str = "mend the line.") -> Generator[None, None, None]:
    """Turn what parsers and archives raise into one sentence about the file."""
    try:
        yield
    except UserError:
        raise
    except sources.BROKEN_ARCHIVE as error:
        raise UserError(
            f"{path} is a damaged or incomplete archive ({error}); fetch or compress it again."
        ) from error
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path} has a header but no rows; name another file.") from error
    except (pd.errors.ParserError, ValueError, OSError, OverflowError) as error:
        if isinstance(error, OSError) and "arrow" not in type(error).__module__:
            raise
        text = str(error)
        if match := _LINE.search(text):
            raise UserError(
                f"{path}, line {match[2]}: {match[3]} fields where {match[1]} are expected; "
                f"{advice}"
            ) from error
        if "EOF inside string" in text:
            row = re.search(r"row (\d+)", text)
            where = f" near row {row[1]}" if row else ""
            raise UserError(
                f"{path}: a quotation mark opened{where} is never closed; mend that line."
            ) from error
        raise UserError(f"{path} cannot be read as a table: {text.splitlines()[0]}") from error
