"""Cells of a new table that are like none of the training table, counted column by column."""

import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from datamodules.following import UnlikeTrainingWarning

# Beyond the training rows' values by more than this share of their whole span is far outside.
FAR = 0.5
# So many rows without a single value are no chance, even where training rows lack some.
ALL_MISSING_FROM = 20


class Anomalies:
    """Counts what a network cannot read as it is meant, over the chunks of a table.

    Args:
        preprocessing: The network's.
    """

    def __init__(self, preprocessing: dict[str, Any]) -> None:
        entries = preprocessing["numeric"] + preprocessing["categorical"]
        self._entries = {entry["name"]: entry for entry in entries}
        self._columns = preprocessing["columns"]
        self._clip = float(preprocessing.get("clip") or math.inf)
        self._rows = 0
        # (column, kind of problem) -> how many cells, the first one, its row from 1.
        self._found: dict[tuple[str, str], tuple[int, str, int]] = {}

    def end_chunk(self, rows: int) -> None:
        """Say that the next cells belong to the rows after these."""
        self._rows += rows

    def see_numbers(self, name: str, features: list[str], cells: pd.Series, values: Any) -> None:
        """Look at a chunk of a column of numbers, dates or truth values.

        Args:
            name: The column.
            features: The features that it gives.
            cells: What is written in it, NaN where it is missing.
            values: (N, features) float64, as far as it can be read.
        """
        present, first = cells.notna().to_numpy(), values[:, 0]
        infinite = np.abs(first) > np.finfo(np.float32).max
        self._count(name, "infinite", infinite, cells)
        self._count(name, "unreadable", present & np.isnan(first), cells)
        self._count(name, "missing", ~present, cells)
        far = np.zeros(len(cells), dtype=bool)
        for feature, column in zip(features, values.T, strict=True):
            if entry := self._entries.get(feature):
                low, high = self._bounds(entry)
                with np.errstate(invalid="ignore"):
                    scaled = _scaled(entry, column)
                    far |= (scaled < low) | (scaled > high)
        self._count(name, "far", far & ~infinite, cells)

    def see_categories(self, name: str, cells: pd.Series, codes: np.ndarray) -> None:
        """Look at a chunk of a column of categories; code -1 is one that the network lacks."""
        self._count(name, "unseen", codes == -1, cells)
        self._count(name, "missing", np.isnan(codes), cells)

    def _count(self, name: str, kind: str, where: np.ndarray, cells: pd.Series) -> None:
        if not where.any():
            return
        at = int(where.argmax())
        count, example, row = self._found.get(
            (name, kind), (0, str(cells.iloc[at]).strip()[:40], self._rows + at + 1)
        )
        self._found[name, kind] = count + int(where.sum()), example, row

    def _bounds(self, entry: dict[str, Any]) -> tuple[float, float]:
        """Return between which values, on the scale of the feature, nothing is far outside."""
        if "low" not in entry:  # weights of before know mean and standard deviation alone
            return -self._clip, self._clip
        low, high = _scaled(entry, np.array([entry["low"], entry["high"]]))
        margin = FAR * (high - low)
        return low - margin, high + margin

    # What came of it

    def lines(self) -> list[str]:
        """Return a sentence for each column in which there is something, in the file's order."""
        return [line for column in self._columns if (line := self._line(column))]

    def _line(self, column: dict[str, Any]) -> str:
        name, kind = column["name"], column["kind"]
        entry, offset = self._entries.get(name, {}), column.get("offset", 0.0)
        missing = "as missing"
        if "mean" in entry:
            missing = f"as missing ({offset + _unscaled(entry, 0.0):.5g})"
        parts, clipped = [], self._clipped(entry, offset)
        wanted = {"date": "no date as in training", "boolean": "no truth value"}
        for problem, what, instead in (
            ("unreadable", wanted.get(kind, "no number"), missing),
            ("infinite", "too large a number", missing),
            ("unseen", "a category that the network does not know", "as unknown"),
            ("far", f"a value far outside training{_range(entry, offset)}", clipped),
        ):
            if found := self._found.get((name, problem)):
                count, example, row = found
                parts.append(
                    f"{count:,} of {self._rows:,} rows hold {what} (the first: '{example}' in row "
                    f"{row:,}), read {instead}"
                )
        count, _, row = self._found.get((name, "missing"), (0, "", 0))
        share = self._share_missing(column)
        if count and (share == 0 or (count == self._rows >= ALL_MISSING_FROM and share < 1)):
            in_training = f"{share:.0%} of the" if share else "none of the"
            parts.append(
                f"{count:,} of {self._rows:,} rows hold nothing (the first: row {row:,}; "
                f"{in_training} training rows did), read {missing}"
            )
        return f"column '{name}': {'; '.join(parts)}" if parts else ""

    def _share_missing(self, column: dict[str, Any]) -> float:
        name = column["name"]
        first = next((n for n in self._entries if n == name or n.startswith(f"{name}.")), name)
        return self._entries.get(first, {}).get("share_missing", 1.0)

    def _clipped(self, entry: dict[str, Any], offset: float) -> str:
        """Say between which values the network takes a number for what it is."""
        if "mean" not in entry or not math.isfinite(self._clip):
            return "as it is"
        low, high = (offset + _unscaled(entry, sign * self._clip) for sign in (-1, 1))
        return f"as at least {low:.5g} and at most {high:.5g}"


def warn(lines: Iterable[str], where: str) -> None:
    """Warn of every line, naming the table."""
    for line in lines:
        warnings.warn(f"{where}, {line}.", UnlikeTrainingWarning, stacklevel=2)


def _scaled(entry: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """Return values as the network sees them, before it clips them."""
    if entry.get("log"):
        values = np.sign(values) * np.log1p(np.abs(values))
    return (values - entry["mean"]) / entry["std"]


def _unscaled(entry: dict[str, Any], scaled: float) -> float:
    value = scaled * entry["std"] + entry["mean"]
    if entry.get("log"):
        with np.errstate(over="ignore"):
            value = float(np.sign(value) * np.expm1(np.abs(value)))
    return value


def _range(entry: dict[str, Any], offset: float) -> str:
    if "low" in entry:
        return f" ({offset + entry['low']:.5g} to {offset + entry['high']:.5g})"
    return f" ({offset + entry['mean']:.5g} ± {entry['std']:.4g})" if "mean" in entry else ""
