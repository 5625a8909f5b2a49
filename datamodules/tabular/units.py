"""Splits that keep a customer on one side (`--data.group`) or go by time (`--data.time`)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from datamodules.errors import UserError
from datamodules.tabular.columns import DATE_FORMATS, dates

# So many random orders of groups are tried for one in which classes are held out in proportion.
TRIES = 10


def count_of(total: int, size: int | float, option: str) -> int:
    """Return how many rows to hold out, of a number or a fraction."""
    count = round(total * size) if 0 < size < 1 else int(size)
    if 0 < size < 1:
        count = max(count, 1)
    if not 0 < count < total or (size >= 1 and size != count):
        raise UserError(
            f"--data.{option} {size} holds out {count} of {total} rows; give a fraction between 0 "
            f"and 1, a number from 1 to {max(total - 1, 1)}, or 0 for none."
        )
    return count


@dataclass
class Units:
    """What is kept on one side of a split: the rows of one group, or of one moment.

    Attributes:
        column: The column that says so.
        of_row: (N,) the unit of every row; of moments the later ones have higher numbers.
        by_time: The last units are held out, not some at random.
        names: What each unit is called in the file.
    """

    column: str
    of_row: np.ndarray
    by_time: bool
    names: list[str]

    def held_out(
        self,
        pool: np.ndarray,
        size: int | float,
        classes: np.ndarray | None,
        seed: int,
        option: str,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Split rows into kept and held-out ones, both ascending, no unit on both sides.

        Args:
            pool: Row numbers, ascending.
            size: About how many to hold out, as a number or as a fraction below 1.
            classes: The class of every row of the pool, or None.
            seed: Seed of the split of groups.
            option: The name of the option, for the message.

        Raises:
            UserError: If there is one unit only.
        """
        count, units = count_of(len(pool), size, option), self.of_row[pool]
        sizes = np.bincount(units)
        present = np.flatnonzero(sizes)
        if len(present) < 2:
            name = "time" if self.by_time else "group"
            raise UserError(
                f"All {len(pool)} rows to split have the same '{self.column}': none can be held "
                f"out. Leave --data.{name} out, or say --data.{option} 0."
            )
        if self.by_time:
            found = sizes[present[::-1]].cumsum()
            last = min(int(np.abs(found - count).argmin()) + 1, len(present) - 1)
            chosen = present[::-1][:last]
        else:
            chosen = self._at_random(units, sizes, present, count, classes, seed)
        mask = np.zeros(len(sizes), dtype=bool)
        mask[chosen] = True
        return pool[~mask[units]], pool[mask[units]]

    def _at_random(
        self,
        units: np.ndarray,
        sizes: np.ndarray,
        present: np.ndarray,
        count: int,
        classes: np.ndarray | None,
        seed: int,
    ) -> np.ndarray:
        """Return groups of about so many rows, of some draws that in which classes fit best."""
        rng = np.random.default_rng(seed)
        best, least = present[:1], np.inf
        for _ in range(TRIES):
            taken, total = [], 0
            for unit in rng.permutation(present):
                if abs(total + sizes[unit] - count) < abs(total - count):
                    taken.append(unit)
                    total += sizes[unit]
            chosen = np.array(
                taken[: len(present) - 1] or present[sizes[present].argmin()], ndmin=1
            )
            mask = np.zeros(len(sizes), dtype=bool)
            mask[chosen] = True
            held = mask[units]
            off = abs(held.sum() - count) / count
            if classes is not None:
                shares = [
                    np.bincount(c, minlength=classes.max() + 1) for c in (classes[held], classes)
                ]
                held_share, share = (counts / max(counts.sum(), 1) for counts in shares)
                off += np.abs(held_share - share).sum()
            if off < least:
                best, least = chosen, off
        return best

    def fold(
        self, pool: np.ndarray, folds: int, fold: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Split rows into what a fold trains on and what it holds out: each group in one fold.

        Raises:
            UserError: If time says the split, or there are fewer groups than folds.
        """
        if self.by_time:
            raise UserError("--data.folds takes rows at random: leave it out, or --data.time.")
        units = self.of_row[pool]
        sizes = np.bincount(units)
        present = np.random.default_rng(seed).permutation(np.flatnonzero(sizes))
        if len(present) < folds:
            raise UserError(
                f"'{self.column}' has {len(present)} different values for {folds} folds; give "
                "--data.folds fewer."
            )
        total, fold_of = np.zeros(folds), np.zeros(len(sizes), dtype=np.int64)
        for unit in present[np.argsort(-sizes[present], kind="stable")]:
            fold_of[unit] = total.argmin()
            total[fold_of[unit]] += sizes[unit]
        held = fold_of[units] == fold
        return pool[~held], pool[held]

    def told(self, rows: dict[str, np.ndarray]) -> str:
        """Say in a sentence how the rows were split."""
        if not self.by_time:
            counts = ", ".join(f"{s} {len(np.unique(self.of_row[r])):,}" for s, r in rows.items())
            return f"no '{self.column}' is in two splits; there are {counts} of them"
        firsts = [
            f"{split} from {self.names[self.of_row[index].min()]} on"
            for split, index in rows.items()
            if len(index)
        ]
        return f"split by '{self.column}': {', '.join(firsts)}"


def in_time(column: str, codes: np.ndarray, values: list[str]) -> Units:
    """Return the moments of rows, numbered by time.

    Args:
        column: The column that says when.
        codes: (N,) of every row the number of its value.
        values: What is written there: dates, times or numbers.

    Raises:
        UserError: If they are none.
    """
    texts = pd.Series(values, dtype=object).astype(str).str.strip()
    found = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
    for form in DATE_FORMATS:
        if not np.isnan(found).any():
            break
        times = dates(texts, form).as_unit("us")
        read = np.where(times.isna(), np.nan, times.asi8)
        if np.isnan(read).sum() < np.isnan(found).sum():
            found = read
    if (unread := np.isnan(found)).any():
        raise UserError(
            f"--data.time '{column}' holds '{texts[unread].iloc[0]}', which is no time as its "
            "other values are: name a column of dates, times or numbers, written in one way."
        )
    moments, ranks = np.unique(found, return_inverse=True)
    names = dict(zip(ranks.tolist(), values, strict=True))
    return Units(column, ranks[codes], True, [names[i] for i in range(len(moments))])
