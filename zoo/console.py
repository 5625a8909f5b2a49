"""What a command prints: tables that line up, warnings that cannot be missed, and no noise."""

import contextlib
import errno
import io
import logging
import os
import shutil
import stat
import sys
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

# Lightning's and torch's hints about what a user of the zoo did not write and cannot change.
HUSHED = (
    ".*does not have many workers.*",
    ".*number of training batches.*smaller than the logging interval.*",
    ".*in eval mode at the start of training.*",  # frozen layers: meant so
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*No positive samples in targets.*",
    ".*No negative samples in targets.*",
    ".*Starting from v1.9.0.*",
    ".*is not supported on mac.*",
    ".*GPU available but not used.*",
    ".*Trying to infer the `batch_size`.*",
    ".*lr_scheduler.step.*before.*optimizer.step.*",
    ".*resume from a checkpoint that ended before the epoch.*",
    ".*sync_dist=True.*",  # the metrics are gathered already
    ".*dirpath has changed from.*",  # a run that goes on gets a folder of its own
    ".*isinstance.treespec, LeafSpec.* is deprecated.*",
    ".*not have a `test_dataloader`.*",
    ".*You requested to overfit but enabled.*",  # `fit` says it, and only of the training data
)


class _UntilClosed(io.FileIO):
    """Writes as long as there is a reader."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # EIO: the terminal is gone
                raise
            return len(data)


def go_on_without_readers() -> None:
    """Let `... | head -1` or a terminal that is closed end what is printed, and not what is done.

    A training is worth more than its lines; what it leaves behind is in its folder.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        with contextlib.suppress(OSError, AttributeError, ValueError):  # a notebook's, or none
            mode = os.fstat(stream.fileno()).st_mode
            if os.name == "posix" and (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
                stream.flush()
                raw = _UntilClosed(stream.fileno(), "w", closefd=False)
                options = {"encoding": stream.encoding, "errors": stream.errors}
                line = {"line_buffering": stream.line_buffering}
                setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(raw), **options, **line))


def quiet() -> None:
    """Silence hints that a user can do nothing about, and print the other warnings plainly."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for pattern in HUSHED:
        warnings.filterwarnings("ignore", message=pattern)
    warnings.showwarning = _show_warning  # type: ignore[assignment]


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return  # of several processes one speaks
    if category.__name__ == "SyntheticDataWarning":
        print(framed("SYNTHETIC DATA", str(message)), file=sys.stderr)
    elif not issubclass(category, (DeprecationWarning, FutureWarning)):
        print(f"warning: {message}", file=sys.stderr)


def framed(title: str, text: str) -> str:
    """Return a text in a frame that cannot be missed."""
    width = min(shutil.get_terminal_size().columns, 100) - 4
    lines = textwrap.wrap(text, width)
    rule = "=" * (max(map(len, [*lines, title])) + 4)
    return "\n".join([rule, f"  {title}", *(f"  {line}" for line in lines), rule])


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Return rows in columns that line up: the first to the left, numbers to the right.

    Args:
        rows: Cells, already formatted.
        header: Titles of the columns.
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    numeric = [all(_is_number(cell) for cell in column[1:] if cell) for column in columns]
    lines = []
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def metrics_table(metrics: Mapping[str, Mapping[str, float]], first: Sequence[str] = ()) -> str:
    """Return a table with a row for each split and a column for each metric, `first` leading."""
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    names.sort(key=lambda name: first.index(name) if name in first else len(first))
    rows = [
        [split, *(f"{values[name]:.4f}" if name in values else "" for name in names)]
        for split, values in metrics.items()
    ]
    return table(rows, ["", *names])


def by_split(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Turn `{"loss/val": 0.3, ...}` into `{"val": {"loss": 0.3}, ...}`."""
    nested: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        name, _, split = key.partition("/")
        nested.setdefault(split, {})[name] = float(value)
    return nested


def duration(seconds: float) -> str:
    """Return a time as `3.2 s`, `2 min 05 s` or `1 h 02 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("%", "").strip("+-± ").isdigit()
