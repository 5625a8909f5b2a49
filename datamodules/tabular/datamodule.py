"""The datamodule for tables: a CSV of any shape becomes training data in one command."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from datamodules.base import EVALUATION_BATCH_SIZE, Split, TensorDataModule
from datamodules.batches import TensorBatches
from datamodules.errors import UserError
from datamodules.folders import checksums_of, data_folder, expand_home
from datamodules.folds import check_folds, hold_out_fold
from datamodules.following import encoding
from datamodules.tabular import (
    codes,
    duplicates,
    incoming,
    leaks,
    profile,
    selection,
    splits,
    statistics,
    store,
    synthetic,
    targets,
)
from datamodules.tabular.anomalies import warn
from datamodules.tabular.dialect import is_number
from datamodules.tabular.encode import source_columns
from datamodules.tabular.reading import ReadOptions, TableFile
from datamodules.tabular.rows import Rows
from datamodules.tabular.schema import SchemaRequest, nothing_left
from datamodules.tabular.statistics import Scaling
from datamodules.tabular.store import Table
from datamodules.tabular.table_reader import TableReader
from datamodules.tabular.units import Units, in_time

# Above this share of one class, its share alone makes a fine accuracy.
UNBALANCED = 0.8


class Tabular(TensorDataModule):
    """A table in CSV, TSV or Parquet files, one row an example, one column the target.

    Separator, header, encoding, decimal mark and the kinds of the columns are found by looking.
    What a network needs to read a row (means, vocabularies, and so on) is fitted to the training
    rows and travels with its weights.

    Args:
        path: The file; or several, as a list or a glob such as 'part-*.csv'; `-` for standard
            input. CSV, TSV and the like, JSON lines, also compressed (gz, zip, bz2, xz), or
            Parquet.
        target: Name of the column to predict, or its number from 0 (-1 is the last). Several, as a
            list, for a regression with several outputs.
        task: `binary`, `multiclass` or `regression`. Default: two values are binary, texts or few
            whole numbers multiclass, anything else a regression.
        positive: Which of two classes is looked for: that of F1, average precision and the
            decision threshold. Default: the second by name.
        columns: Read these columns only.
        drop: Leave these columns out, such as one that gives the target away: a name or a list.
        categorical: Read these columns as categories, even if they hold numbers.
        numeric: Read these columns as numbers; what is none counts as missing.
        header: `first` if the first line names the columns, `none` if columns are numbered from 0,
            `auto` to find out.
        separator: What stands between two fields: one character, or comma, semicolon, tab, pipe,
            blank. Default: found out.
        decimal: The decimal mark. Default: found out.
        thousands: The thousands mark, if numbers have one.
        encoding: How characters are written, such as utf-8 or latin-1. Default: found out.
        missing: Further words that mean a missing value, besides ?, NA, empty and the like.
        bad_rows: `error` stops at a row with too many or too few fields, `skip` leaves it out.
        test_path: File of the test rows. Default: rows are held out.
        val_path: File of the validation rows. Default: rows are held out.
        split_column: Column that says train, val or test.
        group: Column whose rows of the same value, such as a customer's, stay on one side of every
            split. It is not learnt from.
        time: Column of dates, times or numbers: the last rows test, those before them validate. It
            is not learnt from.
        val_size: Rows to validate on, as a fraction or a number; each class in proportion. 0 for
            none: then nothing stops early and the last weights are kept.
        test_size: Rows to test on, likewise.
        val_split: The same as `val_size`, as it was called before.
        test_split: The same as `test_size`.
        folds: Hold out one of so many folds as the test split, for cross-validation: every example
            is held out by one of them, each class in proportion.
        fold: Which fold, from 0.
        scaling: `standard` (mean and standard deviation), `robust` (median and quartiles), `log`
            (standard, on a logarithmic scale where values lean far to one side), `none`, or `auto`,
            which is `log`.
        missing_indicators: Tell the network where a number was missing: true, false, or `auto` for
            the columns with missing values in training. Missing numbers become the mean.
        bins: Also encode numbers piecewise linearly in so many quantile bins; 0 for not.
        select: `telling` reads, where columns outnumber training rows, only those that tell more of
            the target than chance, each by itself; `all` reads every one.
        code_columns: What of whole numbers that look like codes (of places, say) is done besides
            reading them as numbers: `embed` lets the network learn of each value, `hint` says so.
        class_weights: `balanced`, or one weight for each class in the loss.
        costs: Of two classes, what a missed example of the positive one and a false alarm cost, as
            `fn=10,fp=1`: the probability from which on it is predicted is the cheapest on
            validation rows. Default: that of the highest F1.
        interval: Of a regression, the share of true values that predicted intervals are to hold,
            such as 0.9.
        cache: `auto` keeps tables over 16 MB of numbers in a memory-mapped cache on disk, `yes`
            every table, `no` none.
        cache_dir: Folder of the cache. Default: `lightning-zoo/tables` in the user's cache folder.
        data_dir: Where relative paths are looked up besides the working directory. Default: the
            environment variable ZOO_DATA_DIR, else `data`.
        source: `real` reads files only; `synthetic` makes a table in place of one of the
            built-in tables; `auto` does so, with a warning, if that file is not there and nobody
            named a folder for it.
        batch_size: Rows in a training batch; `auto` takes 8 to 1,024, growing with the table.
        seed: Seed of the splits; the order of the training rows follows `seed_everything`.
        shuffle: Draw a new order of the training rows every epoch.
    """

    def __init__(
        self,
        path: str | list[str] = synthetic.DEFAULT,
        target: str | int | list[str] | None = None,
        task: Literal["binary", "multiclass", "regression"] | None = None,
        positive: str | int | None = None,
        columns: list[str] | str | None = None,
        drop: list[str] | str | None = None,
        categorical: list[str] | str | None = None,
        numeric: list[str] | str | None = None,
        header: Literal["auto", "first", "none"] = "auto",
        separator: str | None = None,
        decimal: str | None = None,
        thousands: str | None = None,
        encoding: str | None = None,
        missing: list[str] | str | None = None,
        bad_rows: Literal["error", "skip"] = "error",
        test_path: str | list[str] | None = None,
        val_path: str | list[str] | None = None,
        split_column: str | None = None,
        group: str | None = None,
        time: str | None = None,
        val_size: int | float = 0.15,
        test_size: int | float = 0.15,
        val_split: int | float | None = None,
        test_split: int | float | None = None,
        folds: int | None = None,
        fold: int = 0,
        scaling: Scaling = "auto",
        missing_indicators: bool | Literal["auto"] = "auto",
        bins: int = 0,
        select: Literal["all", "telling"] = "all",
        code_columns: Literal["hint", "embed"] = "hint",
        class_weights: Literal["balanced"] | list[float] | None = None,
        costs: str | dict[str, float] | None = None,
        interval: float | None = None,
        cache: Literal["auto", "yes", "no"] = "auto",
        cache_dir: str | None = None,
        data_dir: str | None = None,
        source: Literal["auto", "real", "synthetic"] = "auto",
        batch_size: int | Literal["auto"] = "auto",
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(
            batch_size=1 if batch_size == "auto" else batch_size, seed=seed, shuffle=shuffle
        )
        check_folds(folds, fold)
        self.folds, self.fold = folds, fold
        self.auto_batch_size = batch_size == "auto"
        if bins < 0 or bins == 1:
            raise UserError(f"--data.bins must be 0 or at least 2, not {bins}.")
        self.paths = {"all": path, "test": test_path, "val": val_path}
        self.wanted = {
            "target": [] if target is None else _as_list(target),
            "categorical": _as_list(categorical),
            "numeric": _as_list(numeric),
            "drop": _as_list(drop),
            "columns": _as_list(columns),
            "split_column": split_column or group or time,
        }
        by = {"split_column": split_column, "group": group, "time": time}
        given = [option for option, name in by.items() if name is not None]
        if len(given) > 1:
            raise UserError(f"Give --data.{given[0]} or --data.{given[1]}, not both.")
        self.split_option = given[0] if given else "split_column"
        # A name that the user gives is no number: where it stands first, there is a header.
        named = [n for names in self.wanted.values() for n in _as_list(names)]
        expect = tuple(name for name in named if not name.lstrip("-").isdigit())
        self.read_options = ReadOptions(
            separator,
            header,
            encoding,
            decimal,
            thousands,
            tuple(_as_list(missing)),
            bad_rows,
            expect,
        )
        self.wanted_task, self.wanted_weights = task, class_weights
        self.positive = None if positive is None else str(positive)
        self.val_size = val_size if val_split is None else val_split
        self.test_size = test_size if test_split is None else test_split
        self.costs, self.interval = targets.read_costs(costs), interval
        if interval is not None and not 0 < interval < 1:
            raise UserError(f"--data.interval is a share between 0 and 1, not {interval:g}.")
        self.fit_options = {
            "scaling": scaling,
            "missing_indicators": missing_indicators,
            "bins": bins,
        }
        self.selects, self.embeds_codes = select == "telling", code_columns == "embed"
        self.cache, self.source = cache, source
        self.cache_dir = expand_home(cache_dir) if cache_dir else None
        self.data_dir, self.data_dir_named_by = data_folder(data_dir)
        self._preprocessing: dict[str, Any] = {}
        self._task, self._class_names = "", []
        self._class_weights: list[float] | None = None
        self._profile: list[tuple[str, list[str]]] = []
        #: The files, and the numbers of the rows of every split, among rows with a target.
        self.files: list[str] = []
        self.largest_class = 0.0
        self.rows: dict[str, np.ndarray] = {}

    @property
    def task(self) -> str:  # type: ignore[override]
        """`binary`, `multiclass` or `regression`, as the target column shows or the user said."""
        _ = self.splits
        return self._task

    @property
    def class_weights(self) -> list[float] | None:  # type: ignore[override]
        """One weight per class for the loss, if asked for."""
        _ = self.splits
        return self._class_weights

    @property
    def class_names(self) -> list[str]:
        """The names of the classes as the file writes them; empty for regression."""
        _ = self.splits
        return self._class_names

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What a network needs to read a row, as plain JSON: columns, scales, vocabularies."""
        _ = self.splits
        return self._preprocessing

    @property
    def profile(self) -> str:
        """What was read, what each column is, what was left out and why, for a terminal."""
        _ = self.splits
        return profile.as_text(self._profile)

    @property
    def profile_markdown(self) -> str:
        """The profile for TensorBoard, with a table of all features."""
        return profile.as_markdown(self._profile, self.preprocessing)

    @property
    def checksums(self) -> dict[str, str]:  # type: ignore[override]
        """The MD5 of each file that the table was read from; none if it is synthetic."""
        _ = self.splits
        return checksums_of(self.files) if self.origin == "real" else {}

    @property
    def first_metrics(self) -> list[str]:
        """The metrics to look at first: where one class has over 80 % of the rows, not accuracy."""
        if self.task == "regression" or self.largest_class <= UNBALANCED:
            return []
        return ["average_precision", "auroc", "f1"] if self.task == "binary" else ["auroc", "f1"]

    def load_splits(self) -> dict[str, Split]:
        """Read the table or its cache, split it and fit the preprocessing to the training rows.

        For a network that was made with another table it reads by that one's preprocessing instead.
        """
        table = self._table()
        target = self._target(table)
        self._task, self._class_names = target.task, target.class_names
        rows = self.rows = self._split(table, target)
        targets.check_decision(target, self.costs, self.interval, len(rows["val"]))
        self.files, train = table.report.files, rows["train"]
        if self._expected is None:
            numeric, categorical, keep = self._fit(table, target, train)
        else:
            known = self._expected.preprocessing
            numeric, categorical = known["numeric"], known["categorical"]
            keep = list(range(table.rows.shape[1]))
            warn(table.report.unlike_training, ", ".join(self.files))
        if not keep:
            report = table.report
            raise nothing_left(Path(report.files[0]), report.dropped, report.notes)
        self._describe(table, target, train, numeric, categorical)
        balance = None
        if target.codes is not None:
            counts = np.bincount(target.codes[train], minlength=len(target.class_names)).tolist()
            balance = dict(zip(target.class_names, counts, strict=True))
            self.largest_class = max(counts) / len(train)
            self._class_weights = statistics.class_weights(self.wanted_weights, balance)
        if self.auto_batch_size:
            # About 32 steps in an epoch, so that one number of epochs suits tables of any size.
            self.batch_size = int(2 ** np.clip(np.log2(len(train) / 32).round(), 3, 10))
        name = ", ".join(Path(file).name for file in table.report.files[:3])
        sizes = {role: len(index) for role, index in rows.items()}
        used = {entry["name"] for entry in numeric + categorical}
        telling, notes = [], target.notes
        if self._expected is None:
            telling = leaks.giveaways(table, target, train, used)
            if not self.embeds_codes:
                notes = notes + codes.hint(codes.find(table, target, train, used))
            notes = notes + duplicates.count(table, target, rows, keep)
        self._profile = profile.sections(
            table, name, self._preprocessing, self._task, balance, sizes, notes, telling
        )
        if table.mapped:
            store.release(table.targets)
        return {role: self._select(table, target, rows[role], keep) for role in sizes}

    def _fit(
        self, table: Table, target: targets.Target, train: np.ndarray
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[int]]:
        """Return numeric and categorical entries, and the table's features that they describe."""
        numeric, categorical, keep = statistics.fit(table, train, **self.fit_options)
        if self.selects and len(keep) > len(train):
            chosen = selection.most_telling(table, target, train, keep)
            target.notes.append(selection.described(len(chosen), len(keep)))
            entries = numeric + categorical
            numeric = [entries[i] for i in chosen if i < len(numeric)]
            categorical = [entries[i] for i in chosen[len(numeric) :]]
            keep = [keep[i] for i in chosen]
        if self.embeds_codes:
            by_name = {entry["name"]: entry for entry in numeric}
            for name in codes.find(table, target, train, set(by_name)):
                by_name[name]["values"] = codes.values(table, name, train)
                target.notes.append(f"'{name}' is read as a number and as codes of things")
        return numeric, categorical, keep

    # Finding and reading

    @property
    def _network_reads(self) -> dict[str, Any] | None:
        """The preprocessing of the network that is followed, without what it predicts."""
        if self._expected is None:
            return None
        self._expected.require("table")
        return encoding(self._expected.preprocessing)

    def _table(self) -> Table:
        folders = [self.data_dir, self.data_dir / "csv"]
        files, made = synthetic.locate(self.paths, folders, self.source, self.data_dir_named_by)
        self.origin = "synthetic" if made else "real"
        reading, network_reads = self.read_options, self._network_reads
        if network_reads is not None:
            names = tuple(n for n in source_columns(network_reads) if not n.isdigit())
            reading = replace(reading, expect=(*reading.expect, *names))
        wanted = {**self.wanted, "target": self._target_names()}
        if not wanted["target"]:
            if self.paths["all"] != synthetic.DEFAULT:
                names = TableFile(files[0][1], self.read_options, check=False).columns
                raise UserError(
                    f"Which column of {files[0][1]} is to be predicted? Say --data.target NAME; "
                    f"it has {', '.join(names[:40])}{', ...' if len(names) > 40 else ''}."
                )
            wanted["target"] = [synthetic.TARGET]
        if network_reads is not None and not all(map(is_number, self._expected.class_names or [])):
            # Classes that are words: numbers among them, such as 007, are written as they are.
            wanted["categorical"] = [*wanted["categorical"], *wanted["target"]]
        options = {"wanted": wanted, "reading": vars(reading)}
        options["roles"] = [role for role, _ in files]
        options["split_option"] = self.split_option
        if network_reads is not None:
            options["network_reads"] = network_reads
        state = store.fingerprint([path for _, path in files])
        folder = (self.cache_dir or store.default_folder()) / store.key(state, options)
        # What was written down here has another name next time: nobody would read such a cache.
        passing = any(incoming.is_written_down(path) for _, path in files)
        if self.cache != "no" and not passing and (table := store.load(folder)) is not None:
            return table
        request = SchemaRequest(**wanted, split_option=self.split_option)
        reader = TableReader(files, reading, request, network_reads)
        expected = reader.expected_bytes
        automatic = self.cache == "auto" and not passing
        if self.cache == "yes" or (automatic and expected > store.CACHE_FROM):
            return reader.run(store.CacheWriter(folder, expected, state))
        return reader.run(store.MemoryWriter())

    def _target_names(self) -> list[str]:
        """Return what the user named; the network's targets if that is nothing or the same ones."""
        own, known = self.wanted["target"], []
        if self._expected is not None:
            known = self._expected.preprocessing.get("target", {}).get("names", [])
        return known if known and (not own or sorted(own) == sorted(known)) else own

    def _target(self, table: Table) -> targets.Target:
        """Find out what is predicted; its classes are numbered as the network that is followed."""
        expected = self._expected
        if expected is None:
            found = targets.read(table, self.wanted_task)
            return found if self.positive is None else found.with_positive(self.positive)
        if self.wanted_task and (self.wanted_task == "regression") != (
            expected.task == "regression"
        ):
            raise UserError(
                f"--data.task {self.wanted_task} is not the task of the network, {expected.task}; "
                "leave it out."
            )
        if expected.task == "regression":
            for column in table.target_columns:
                expected.numbers_of(column.get("values", []))
            target = targets.read(table, "regression", varied=False)
            known = expected.preprocessing.get("target", {}).get("names", target.names)
            if known != target.names:
                sentence = (
                    f"the network predicts {', '.join(known)}; here it is compared with "
                    f"{', '.join(target.names)}"
                )
                warn([sentence], ", ".join(table.report.files))
            return target
        target = targets.read(table, "multiclass", varied=False)
        target = replace(target, class_names=self._known_classes(table, target.class_names))
        numbers = expected.numbers_of(target.class_names).astype(target.codes.dtype)
        names = expected.names_for(target.class_names)
        return replace(target, task=expected.task, class_names=names, codes=numbers[target.codes])

    def _known_classes(self, table: Table, names: list[str]) -> list[str]:
        """Return classes as the network writes them, where they differ in typing alone."""
        known = self._expected.class_names or []
        written = {targets.bare(name): name for name in known}
        if len(written) < len(known):  # it tells classes apart that are typed alike
            return names
        found = [name if name in known else written.get(targets.bare(name), name) for name in names]
        others = [f"'{a}' as '{b}'" for a, b in zip(names, found, strict=True) if a != b]
        warn([f"class {other} is read" for other in others], ", ".join(table.report.files))
        return found

    # Splitting and describing

    def _split(self, table: Table, target: targets.Target) -> dict[str, np.ndarray]:
        roles: dict[str, list[np.ndarray]] = {}
        for role, start, stop in table.parts:
            roles.setdefault("train" if role == "all" else role, []).append(
                np.arange(start, stop, dtype=np.int32)
            )
        given = {role: np.concatenate(found) for role, found in roles.items()}
        units = self._units(table)
        if table.split_values and units is None:
            name = str(self.wanted["split_column"])
            if len(given) > 1:
                raise UserError("Give either --data.split_column or files for the splits.")
            given = splits.by_column(table.targets[:, -1], table.split_values, name)
        for role, index in given.items():
            if not len(index):
                raise UserError(f"No row with a target is left to {role} on.")
        if self.folds:
            pool = given["train"]
            classes = None if target.codes is None else target.codes[pool]
            if units is not None:
                kept, held = units.fold(pool, self.folds, self.fold, self.seed)
            else:
                index = hold_out_fold(len(pool), self.folds, self.fold, classes, self.seed)
                kept, held = pool[index[0]], pool[index[1]]
            given |= {"train": kept, "test": held}
        order = ("train", "val", "test")
        sizes = self.val_size, self.test_size
        made = splits.make(given, target.codes, *sizes, self.seed, units)
        if units is not None:
            target.notes.append(units.told({role: made[role] for role in order}))
        if target.codes is not None and self._expected is None:
            self._check_classes(target, made["train"])
        return {role: made[role] for role in order}

    def _units(self, table: Table) -> Units | None:
        """Return what is kept on one side of every split, if a column says so."""
        if self.split_option == "split_column":
            return None
        name, values = str(self.wanted["split_column"]), table.split_values
        of_row = table.targets[:, -1].astype(np.int64)
        return (
            in_time(name, of_row, values)
            if self.split_option == "time"
            else Units(name, of_row, False, values)
        )

    def _check_classes(self, target: targets.Target, train: np.ndarray) -> None:
        counts = np.bincount(target.codes[train], minlength=len(target.class_names))
        absent = [target.class_names[i] for i in np.flatnonzero(counts == 0)]
        if absent:
            raise UserError(
                f"Class '{absent[0]}' of '{target.names[0]}' has rows to validate or test on but "
                "none to train on; move some of them into the training rows, or leave them out."
            )

    def _describe(
        self,
        table: Table,
        target: targets.Target,
        train: np.ndarray,
        numeric: list[dict[str, Any]],
        categorical: list[dict[str, Any]],
    ) -> None:
        used = {entry["name"] for entry in numeric + categorical}
        columns = [c for c in table.columns if used & set(statistics.features_of(c))]
        described = {"names": target.names, **targets.moments(target, train)}
        if self._expected is not None:
            self._preprocessing = {**encoding(self._expected.preprocessing), "target": described}
            return
        self._preprocessing = {
            "kind": "table",
            "columns": columns,
            "numeric": numeric,
            "categorical": categorical,
            "clip": 10.0,
            "missing": list(self.read_options.missing),
            "target": described,
        }

    def _select(
        self, table: Table, target: targets.Target, index: np.ndarray, keep: list[int]
    ) -> Split:
        everything = keep == list(range(table.rows.shape[1]))
        if table.mapped:
            columns = None if everything else np.asarray(keep, dtype=np.int64)
            return Rows(table.rows, index, columns), target.tensor(index)
        rows = table.rows[index] if everything else table.rows[np.ix_(index, keep)]
        return torch.from_numpy(rows), target.tensor(index)

    def _batches(self, split: str, batch_size: int, **options: Any) -> TensorBatches:
        _ = self.splits  # the base class asks before the table is read, which settles "auto"
        size = self.batch_size if split == "train" else max(self.batch_size, EVALUATION_BATCH_SIZE)
        return super()._batches(split, size, **options)


def _as_list(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(v) for v in value] if isinstance(value, (list, tuple)) else [str(value)]
