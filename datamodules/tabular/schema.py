"""Which columns are read and as what: the user's word first, then what a sample shows."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from datamodules.errors import UserError, nearest, unknown
from datamodules.tabular import columns as kinds
from datamodules.tabular.columns import Column
from datamodules.tabular.encode import check_columns, source_columns
from datamodules.tabular.reading import SAMPLE, ReadOptions, TableFile

# Cells of so many words are sentences.
WORDS_OF_TEXT = 3


@dataclass
class SchemaRequest:
    """What the user asks of the columns; an empty list leaves it to detection."""

    target: list[str]
    categorical: list[str] = field(default_factory=list)
    numeric: list[str] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    split_column: str | None = None
    #: What the split column is for: `split_column`, `group` or `time`.
    split_option: str = "split_column"

    @property
    def expected(self) -> tuple[str, ...]:
        """The names that are given, not numbers: where one stands first, there is a header."""
        lists = (self.target, self.categorical, self.numeric, self.drop, self.columns)
        split = [self.split_column] if self.split_column else []
        named = [str(name) for names in (*lists, split) for name in names]
        return tuple(name for name in named if not name.lstrip("-").isdigit())

    @property
    def most_split_values(self) -> float:
        """How many different values the split column may have."""
        return 20 if self.split_option == "split_column" else float("inf")


class Schema:
    """The columns of a table and their kinds.

    Args:
        files: The table's files; the first one's columns and first rows decide.
        options: How they are read.
        request: What the user asks of the columns; numbers become names.
        preprocessing: That of the network which the table is read for, if it was made with another
            one: its columns are read then, as it reads them.

    Raises:
        UserError: If a column is not there, or nothing is left to learn from.
    """

    def __init__(
        self,
        files: list[TableFile],
        options: ReadOptions,
        request: SchemaRequest,
        preprocessing: dict[str, Any] | None = None,
    ) -> None:
        self.file, self.options, self.request = files[0], options, request
        self.preprocessing = preprocessing
        self.names = self.file.columns
        self.dropped: dict[str, str] = {}
        self.notes: list[str] = []
        self._resolve()
        self._look()
        for file in files[1:]:
            self._compare(file)

    @property
    def features(self) -> list[str]:
        """The names of the features: numeric ones, then categories."""
        return [*self.numeric, *self.categories]

    @property
    def numeric(self) -> list[str]:
        """The names of the numeric features."""
        return [f for c in self.columns.values() if c.kind != "category" for f in c.features]

    @property
    def categories(self) -> list[str]:
        """The names of the category columns."""
        return [c.name for c in self.columns.values() if c.kind == "category"]

    @property
    def read(self) -> list[str]:
        """The columns that are read from every file."""
        split = [self.request.split_column] if self.request.split_column else []
        return [*self.columns, *self.targets, *split]

    # What is asked of the columns

    def _resolve(self) -> None:
        request = self.request
        for option in ("target", "categorical", "numeric", "drop", "columns"):
            setattr(request, option, [self._column(n, option) for n in getattr(request, option)])
        if request.split_column is not None:
            request.split_column = self._column(request.split_column, request.split_option)
        for name in request.target:
            if name in self.file.duplicates:
                raise UserError(
                    f"The target '{name}' is the name of two columns of {self.file.path}; "
                    "rename one in the file."
                )
        for one, other in (("numeric", "categorical"), ("target", "drop"), ("columns", "drop")):
            if both := set(getattr(request, one)) & set(getattr(request, other)):
                raise UserError(
                    f"Column '{min(both)}' is in --data.{one} and in --data.{other}; "
                    "leave it out of one."
                )

    def _column(self, name: str, option: str) -> str:
        """Return a column's name; a number counts from the first column, or back from the last."""
        name = str(name)
        if name in self.names:
            return name
        if name.lstrip("-").isdigit() and -len(self.names) <= int(name) < len(self.names):
            return self.names[int(name)]
        file = self.file
        hint = "" if file.has_header else "The file has no header: columns count from 0."
        raise unknown("column", name, self.names, f"(--data.{option}, {file.path}) {hint}".strip())

    # What the sample shows

    def _look(self) -> None:
        request, file = self.request, self.file
        keep = set(request.columns or self.names) - set(request.drop)
        features = [n for n in self.names if n in keep and n not in request.target]
        features = [n for n in features if n != request.split_column]
        if self.preprocessing is not None:
            features = self._check_features(features, self.preprocessing)
        read = [*features, *request.target]
        sample = next(file.chunks(read, "str", SAMPLE, classes=request.target), None)
        if sample is None or sample.empty:
            raise UserError(f"{file.path} has a header but no rows; name another file.")
        self.targets = {name: self.kind(name, sample[name]) for name in request.target}
        if self.preprocessing is not None:
            described = self.preprocessing["columns"]
            self.columns = {column["name"]: Column(**column) for column in described}
            return
        self.columns = {name: self.kind(name, sample[name]) for name in features}
        for name in features:
            self._drop_texts(name, sample[name])
        if not self.columns:
            raise nothing_left(self.file.path, self.dropped, self.notes)

    def _check_features(self, features: list[str], preprocessing: dict[str, Any]) -> list[str]:
        """See that what the network reads is there and is nothing else; return its columns."""
        check_columns(self.names, preprocessing, str(self.file.path))
        for column in preprocessing["columns"]:
            name, kind = column["name"], column["kind"]
            if name not in features:
                use = "the target" if name in self.request.target else "left out, or says the split"
                raise UserError(
                    f"The network reads column '{name}', which here is {use}: it cannot be tested "
                    f"on {self.file.path} like this."
                )
            other = "numeric" if kind == "category" else "categorical"
            if name in getattr(self.request, other):
                raise UserError(
                    f"--data.{other} names '{name}', which the network reads as {kind}: leave it "
                    "out."
                )
        needed = source_columns(preprocessing)
        unread = "is not read by the network"
        self.dropped |= {name: unread for name in features if name not in needed}
        return needed

    def kind(self, name: str, cells: pd.Series) -> Column:
        """Tell a column's kind from cells, unless the user said it."""
        decimal, thousands = self.file.decimal, self.options.thousands or ""
        if name in self.request.categorical:
            return Column(name, "category", forced=True)
        if name in self.request.numeric:
            column = Column(name, "numeric", decimal=decimal, thousands=thousands, forced=True)
            if name not in self.request.target:
                column.offset = kinds.infer(name, cells, decimal, thousands).offset
            return column
        column = kinds.infer(name, cells, decimal, thousands)
        if name in self.request.target:
            if column.kind in ("boolean", "date"):
                return Column(name, "category")  # class names stay as they are written
            column.offset = 0.0
        return column

    def _drop_texts(self, name: str, cells: pd.Series) -> None:
        column, present = self.columns[name], cells.count()
        if column.kind != "category" or column.forced:
            return
        if mark := kinds.thousands_mark(cells):
            self.notes.append(
                f"'{name}' seems to hold numbers with thousands marks, read as texts: "
                f"--data.thousands '{mark}' reads them as numbers"
            )
        if present < 20:
            return
        share = cells.nunique() / present
        if share > kinds.MOSTLY_UNIQUE or (share > 0.5 and kinds.looks_like_key(name)):
            found = f"({cells.nunique():,} different values in {present:,} rows)"
            self.dropped[name] = f"looks like a key or free text {found}"
            if cells.dropna().astype(str).str.count(r"\S+").median() >= WORDS_OF_TEXT:
                self.dropped[name] = (
                    f"is free text {found}, which a network of tables never reads, in predictions "
                    "neither; --data text learns from sentences"
                )
            del self.columns[name]

    def _compare(self, file: TableFile) -> None:
        """See that another file of the table has the columns that are read, in whatever order."""
        for name in self.read:
            if name in file.columns:
                continue
            close = nearest(name, [column for column in file.columns if column not in self.names])
            advice = f" (is it '{close[0]}'?)" if close else ""
            if name in self.targets:
                reason = "the target; without it, rows can be predicted but not tested on"
            else:
                reason = f"which {self.file.path} has; files of one table need the same columns"
            raise UserError(f"{file.path} has no column '{name}'{advice}, {reason}.")


def nothing_left(path: Path, dropped: dict[str, str], notes: list[str]) -> UserError:
    """Return the error for a table of which no column is left."""
    reasons = "; ".join(f"'{name}' {why}" for name, why in dropped.items())
    return UserError(
        f"{path} has no column to learn from besides the target"
        + (f" ({reasons}). Name one with --data.categorical." if reasons else ".")
        + "".join(f" {note}." for note in notes)
    )


def no_target(path: Path, options: ReadOptions) -> UserError:
    """Return the error for a table of which nobody said what is to be predicted."""
    names = TableFile(path, options, check=False).columns
    return UserError(
        f"Which column of {path} is to be predicted? Say --data.target NAME; "
        f"it has {', '.join(names[:40])}{', ...' if len(names) > 40 else ''}."
    )
