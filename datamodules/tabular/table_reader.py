"""The one pass over a table's files: texts in, float32 rows and what is known of them out."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datamodules.errors import UserError
from datamodules.tabular import columns as kinds
from datamodules.tabular import store
from datamodules.tabular.anomalies import Anomalies
from datamodules.tabular.columns import Column
from datamodules.tabular.dialect import MISSING, NO_CLASS_BUT_NONE
from datamodules.tabular.encode import encode_frame
from datamodules.tabular.reading import ReadOptions, TableFile, ahead
from datamodules.tabular.schema import Schema, SchemaRequest, nothing_left
from datamodules.tabular.targets import MAX_CLASSES

# Categories with more values than this are texts or keys, which a network learns nothing from.
MAX_CATEGORIES = 20_000


class _Surprise(Exception):
    """A column is not what the sample showed: the pass begins again with what is known now."""


class TableReader:
    """Reads files into a table.

    The kinds of the columns are told from a sample. Should a later row contradict it (texts in a
    column of numbers), the pass begins again with the better knowledge, at most a few times.

    Args:
        files: Role (`all`, `train`, `val`, `test`) and path of every file.
        options: How to read them.
        request: What the user asks of the columns.
        preprocessing: That of the network which the table is read for, if it was made with another
            one. The rows are then what `encode_frame` gives.
    """

    def __init__(
        self,
        files: list[tuple[str, Path]],
        options: ReadOptions,
        request: SchemaRequest,
        preprocessing: dict[str, Any] | None = None,
    ) -> None:
        self.fingerprint = store.fingerprint([path for _, path in files])
        self.roles = [role for role, _ in files]
        self.missing = {*MISSING, *options.missing}
        self.no_class = {*NO_CLASS_BUT_NONE, *options.missing}
        self.files = [TableFile(path, options) for _, path in files]
        self.preprocessing = preprocessing
        self.schema = Schema(self.files, options, request, preprocessing)
        self.columns, self.targets = self.schema.columns, self.schema.targets
        self.dropped = self.schema.dropped
        self.split_column = request.split_column

    @property
    def expected_bytes(self) -> int:
        """About how much the numbers will take."""
        return sum(file.expected_rows for file in self.files) * (4 * len(self.schema.features) + 16)

    # The pass

    def run(self, writer: Any) -> store.Table:
        """Read all rows into a writer and return the table.

        Raises:
            UserError: If the files cannot be read or change meanwhile.
        """
        try:
            while True:
                self._begin()
                try:
                    self._read(writer)
                    break
                except _Surprise:
                    writer.restart()
            if self.preprocessing is None:
                self._judge()
            return writer.finish(self._describe())
        except BaseException:
            writer.discard()
            raise

    def _begin(self) -> None:
        self.report = store.Report([str(file.path) for file in self.files])
        self.report.columns = len(self.schema.names)
        self.features, self.numeric = self.schema.features, self.schema.numeric
        if self.preprocessing is not None:
            self.numeric = [entry["name"] for entry in self.preprocessing["numeric"]]
            categorical = [entry["name"] for entry in self.preprocessing["categorical"]]
            self.features = [*self.numeric, *categorical]
            self.anomalies = Anomalies(self.preprocessing)
        self.vocabulary: dict[str, dict[str, int]] = {}
        self.seen = dict.fromkeys(self.columns, 0)
        self.consecutive = dict.fromkeys(self.columns, True)
        self.last: dict[str, float] = {}
        self.keys = {name: kinds.looks_like_key(name) for name in self.columns}
        self.parts: list[list[Any]] = []
        self.kept = 0

    def _read(self, writer: Any) -> None:
        everything = {**self.columns, **self.targets}
        names = self.schema.read
        dtype = {
            name: "category"
            for name in names
            if name not in everything or everything[name].kind != "numeric"
        }
        for role, file in zip(self.roles, self.files, strict=True):
            start = self.kept
            self.last.clear()
            for chunk in ahead(file.chunks(names, dtype, classes=self.targets)):
                self._consume(chunk, writer, file)
            self.parts.append([role, start, self.kept])
        if self.fingerprint != store.fingerprint([file.path for file in self.files]):
            changed = next(
                old[0]
                for old, new in zip(
                    self.fingerprint,
                    store.fingerprint([file.path for file in self.files]),
                    strict=True,
                )
                if old != new
            )
            raise UserError(f"{changed} changed while it was read; run again when it is complete.")
        if not self.kept:
            target = ", ".join(self.targets)
            raise UserError(
                f"The target '{target}' is missing in all {self.report.rows:,} rows of "
                f"{self.files[0].path}; name another with --data.target."
            )

    def _consume(self, chunk: pd.DataFrame, writer: Any, file: TableFile) -> None:
        count, width = len(chunk), len(self.targets) + bool(self.split_column)
        targets = np.empty((count, width), dtype=np.float64)
        for i, column in enumerate(self.targets.values()):
            targets[:, i] = self._encode(column, chunk[column.name])[:, 0]
        if name := self.split_column:
            said = kinds.without_missing(chunk[name], self.missing)
            targets[:, -1] = self._codes(name, said, self.schema.request.most_split_values)
        if self.preprocessing is None:
            block = self._features(chunk)
        else:
            # True and False in a column of numbers are words, as in `predict`.
            words = chunk.select_dtypes("bool").columns
            chunk = chunk.astype(dict.fromkeys(words, "str"))
            of_file = file.decimal, str(file.path), self.anomalies
            block = encode_frame(chunk, self.preprocessing, *of_file).numpy()
        self.report.rows += count
        present = ~np.isnan(targets).any(axis=1)
        if not present.all():
            self.report.missing_target += int(count - present.sum())
            block, targets = block[present], targets[present]
        self.kept += len(block)
        writer.write(block, targets)

    def _features(self, chunk: pd.DataFrame) -> np.ndarray:
        block = np.empty((len(chunk), len(self.features)), dtype=np.float32)
        position, category = 0, len(self.numeric)
        for column in self.columns.values():
            encoded = self._encode(column, chunk[column.name])
            at = category if column.kind == "category" else position
            block[:, at : at + encoded.shape[1]] = encoded
            if column.kind == "category":
                category += 1
            else:
                position += encoded.shape[1]
        return block

    def _encode(self, column: Column, cells: pd.Series) -> np.ndarray:
        is_class = column.kind == "category" and column.name in self.targets
        cells = kinds.without_missing(cells, self.no_class if is_class else self.missing)
        present = cells.notna().to_numpy()
        known = int(present.sum())
        self.seen[column.name] = self.seen.get(column.name, 0) + known
        if column.kind == "category":
            return self._codes(column.name, cells, MAX_CATEGORIES)[:, None]
        if column.kind == "empty" and known:
            self._learn(column, cells)
        values = kinds.encode(column, cells)
        # float32 ends at 3.4e38: what is beyond becomes infinite there. Targets are float64.
        dtype = np.float64 if column.name in self.targets else np.float32
        infinite = np.abs(values[:, 0]) > np.finfo(dtype).max
        if infinite.any():
            self.report.infinite[column.name] = self.report.infinite.get(column.name, 0) + int(
                infinite.sum()
            )
            values[infinite] = np.nan
        unread = present & np.isnan(values[:, 0]) & ~infinite
        if unread.any():
            first = cells.to_numpy(dtype=object)[unread.argmax()]
            row = self.report.rows + int(unread.argmax()) + 1
            known_so_far = self.report.unreadable.setdefault(column.name, [0, str(first), row])
            known_so_far[0] += int(unread.sum())
            enough = self.seen[column.name] >= 20 or known_so_far[0] == self.seen[column.name]
            if (
                enough
                and not column.forced
                and known_so_far[0] > (1 - kinds.PURE) * self.seen[column.name]
            ):
                column.kind = "category"
                raise _Surprise
        self._follow(column.name, values[:, 0])
        return values

    def _learn(self, column: Column, cells: pd.Series) -> None:
        """A column that was all missing so far shows its first values."""
        learnt = self.schema.kind(column.name, cells.dropna().astype(str))
        (self.columns if column.name in self.columns else self.targets)[column.name] = learnt
        raise _Surprise

    def _follow(self, name: str, values: np.ndarray) -> None:
        """See whether a column counts the rows, or numbers them in another way."""
        if self.consecutive.get(name) and len(values):
            before = self.last.get(name, values[0] - 1)
            self.consecutive[name] = bool((np.diff(values, prepend=before) == 1).all())
            self.last[name] = float(values[-1])
        if self.keys.get(name):
            whole = bool((values == np.round(values)).all())  # false if one is missing
            self.keys[name] = whole and len(np.unique(values)) == len(values)

    def _codes(self, name: str, cells: pd.Series, limit: float) -> np.ndarray:
        """Return codes of categories, new ones of a chunk in alphabetical order; NaN if missing."""
        known = self.vocabulary.setdefault(name, {})
        codes, values = kinds.factorize(cells)
        used = np.unique(codes[codes >= 0])
        lookup = np.full(len(values) + 1, np.nan)
        for label, code in sorted(zip(kinds.labels(values[used]), used, strict=True)):
            lookup[code] = known.setdefault(label, len(known))
        if name in self.targets:
            limit = MAX_CLASSES
        if len(known) > limit:
            self._too_many(name, len(known))
        return lookup[codes]

    def _too_many(self, name: str, count: int) -> None:
        if name in self.targets:
            raise UserError(
                f"The target '{name}' has more than {MAX_CLASSES:,} different values that are not "
                "numbers; name another with --data.target."
            )
        if name == self.split_column:
            raise UserError(
                f"--data.split_column '{name}' has more than {count - 1} different values; "
                "it should say train, val or test."
            )
        if not self.columns[name].forced:
            del self.columns[name]
            self.dropped[name] = f"has more than {MAX_CATEGORIES:,} different texts"
            if not self.columns:
                raise nothing_left(self.files[0].path, self.dropped, self.schema.notes)
            raise _Surprise

    # What is known after the pass

    def _judge(self) -> None:
        """Find the columns that say nothing of their rows but which they are."""
        rows = self.report.rows
        for name, column in self.columns.items():
            if column.forced:
                continue
            if column.kind == "category":
                count = len(self.vocabulary[name])
                if count > 0.5 * self.seen[name] and self.seen[name] >= 20:
                    self.dropped[name] = (
                        f"looks like a key or free text ({count:,} different values)"
                    )
            elif rows >= 20 and column.kind == "numeric":
                # A title such as "time" may count what matters; a first column without one, rows.
                untitled = not self.files[0].has_header and name == self.schema.names[0]
                if self.consecutive[name] and (untitled or kinds.looks_like_key(name)):
                    self.dropped[name] = "counts the rows"
                elif self.keys[name]:
                    self.dropped[name] = "looks like a key (whole numbers, each once)"

    def _describe(self) -> dict[str, Any]:
        targets = []
        for column in self.targets.values():
            described = column.as_dict()
            if column.kind == "category":
                described["values"] = list(self.vocabulary[column.name])
            targets.append(described)
        self.report.dropped = dict(self.dropped)
        self.report.notes += self.schema.notes
        for file in self.files:
            self.report.notes += file.notes
        split, known = self.split_column, self.vocabulary
        categories = {name: list(known.get(name, {})) for name in self.schema.categories}
        if self.preprocessing is not None:
            self.report.unlike_training = self.anomalies.lines()
            entries = self.preprocessing["categorical"]
            categories = {entry["name"]: entry["vocabulary"] for entry in entries}
        return {
            "columns": [column.as_dict() for column in self.columns.values()],
            "numeric": self.numeric,
            "categories": categories,
            "target_columns": targets,
            "parts": self.parts,
            "split_values": list(known[split]) if split else [],
            "report": self.report,
        }
