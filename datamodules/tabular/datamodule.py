"""The datamodule for tables: a CSV of any shape becomes training data in one command."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from datamodules.base import EVALUATION_BATCH_SIZE, Split, Task, TensorDataModule
from datamodules.batches import TensorBatches
from datamodules.errors import UserError
from datamodules.folders import checksums_of, data_folder, expand_home
from datamodules.folds import check_folds
from datamodules.following import encoding
from datamodules.tabular import (
    cached,
    fitting,
    followed,
    profile,
    remarks,
    splits,
    statistics,
    store,
    synthetic,
    targets,
)
from datamodules.tabular.anomalies import warn
from datamodules.tabular.fitting import FitRequest
from datamodules.tabular.reading import ReadOptions
from datamodules.tabular.rows import selected
from datamodules.tabular.schema import SchemaRequest, no_target
from datamodules.tabular.splits import SplitRequest
from datamodules.tabular.statistics import Scaling
from datamodules.tabular.store import Table

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
        self.auto_batch_size = batch_size == "auto"
        if bins < 0 or bins == 1:
            raise UserError(f"--data.bins must be 0 or at least 2, not {bins}.")
        self.paths = {"all": path, "test": test_path, "val": val_path}
        by = {"split_column": split_column, "group": group, "time": time}
        given = [option for option, name in by.items() if name is not None]
        if len(given) > 1:
            raise UserError(f"Give --data.{given[0]} or --data.{given[1]}, not both.")
        column, split_option = split_column or group or time, given[0] if given else "split_column"
        self.request = SchemaRequest(
            target=_as_list(target),
            categorical=_as_list(categorical),
            numeric=_as_list(numeric),
            drop=_as_list(drop),
            columns=_as_list(columns),
            split_column=column,
            split_option=split_option,
        )
        self.split_request = SplitRequest(
            val_size if val_split is None else val_split,
            test_size if test_split is None else test_split,
            seed,
            folds,
            fold,
            column,
            split_option,
        )
        self.read_options = ReadOptions(
            separator,
            header,
            encoding,
            decimal,
            thousands,
            tuple(_as_list(missing)),
            bad_rows,
            self.request.expected,
        )
        self.wanted_task, self.wanted_weights = task, class_weights
        self.positive = None if positive is None else str(positive)
        self.costs, self.interval = targets.read_costs(costs), interval
        if interval is not None and not 0 < interval < 1:
            raise UserError(f"--data.interval is a share between 0 and 1, not {interval:g}.")
        self.fit_request = FitRequest(
            scaling, missing_indicators, bins, select == "telling", code_columns == "embed"
        )
        self.cache, self.source = cache, source
        self.cache_dir = expand_home(cache_dir) if cache_dir else None
        self.data_dir, self.data_dir_named_by = data_folder(data_dir)
        self._preprocessing: dict[str, Any] = {}
        self._task: Task = "regression"
        self._class_names: list[str] = []
        self._class_weights: list[float] | None = None
        self._profile: list[tuple[str, list[str]]] = []
        #: The files read, and the numbers of the rows of every split, among rows with a target.
        self.files_read: list[str] = []
        self.largest_class = 0.0
        self.rows: dict[str, np.ndarray] = {}

    @property
    def task(self) -> Task:  # type: ignore[override]
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
        return checksums_of(self.files_read) if self.origin == "real" else {}

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
        is_new = self._expected is None
        rows = self.rows = splits.of_table(table, target, self.split_request, all_classes=is_new)
        targets.check_decision(target, self.costs, self.interval, len(rows["val"]))
        self.files_read, train = table.report.files, rows["train"]
        if self._expected is None:
            fitted, keep = fitting.fit(table, target, train, self.fit_request)
            fitted["missing"] = list(self.read_options.missing)
        else:
            fitted = encoding(self._expected.preprocessing)
            keep = list(range(table.rows.shape[1]))
            warn(table.report.unlike_training, ", ".join(self.files_read))
        described = {"names": target.names, **targets.moments(target, train)}
        self._preprocessing = {**fitted, "target": described}
        balance = target.balance(train)
        if balance is not None:
            self.largest_class = max(balance.values()) / len(train)
            self._class_weights = statistics.class_weights(self.wanted_weights, balance)
        if self.auto_batch_size:
            # About 32 steps in an epoch, so that one number of epochs suits tables of any size.
            self.batch_size = int(2 ** np.clip(np.log2(len(train) / 32).round(), 3, 10))
        telling: list[str] = []
        notes = target.notes
        if is_new:
            telling, noted = remarks.examine(
                table, target, rows, keep, fitted, hint_codes=not self.fit_request.embeds_codes
            )
            notes = notes + noted
        self._profile = profile.sections(table, target, rows, self._preprocessing, notes, telling)
        if table.mapped:
            store.release(table.targets)
        return {
            role: (selected(table.rows, index, keep, table.mapped), target.tensor(index))
            for role, index in rows.items()
        }

    # Finding and reading

    def _table(self) -> Table:
        folders = [self.data_dir, self.data_dir / "csv"]
        files, made = synthetic.locate(self.paths, folders, self.source, self.data_dir_named_by)
        self.origin = "synthetic" if made else "real"
        reading, request, network_reads = self.read_options, replace(self.request), None
        if self._expected is not None:
            self._expected.require("table")
            network_reads = encoding(self._expected.preprocessing)
            reading, request = followed.requested(self._expected, reading, request)
        if not request.target:
            if self.paths["all"] != synthetic.DEFAULT:
                raise no_target(files[0][1], self.read_options)
            request.target = [synthetic.TARGET]
        return cached.read(files, reading, request, network_reads, self.cache, self.cache_dir)

    def _target(self, table: Table) -> targets.Target:
        """Find out what is predicted; its classes are numbered as the network that is followed."""
        if self._expected is not None:
            return followed.read_target(table, self._expected, self.wanted_task)
        found = targets.read(table, self.wanted_task)
        return found if self.positive is None else found.with_positive(self.positive)

    def _batches(self, split: str, batch_size: int, **options: Any) -> TensorBatches:
        _ = self.splits  # the base class asks before the table is read, which settles "auto"
        size = self.batch_size if split == "train" else max(self.batch_size, EVALUATION_BATCH_SIZE)
        return super()._batches(split, size, **options)


def _as_list(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(v) for v in value] if isinstance(value, (list, tuple)) else [str(value)]
