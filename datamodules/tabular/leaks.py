"""Columns that give the answer away: one alone tells the target where no honest one could."""

from typing import Any

import numpy as np

from datamodules.tabular.rows import sample
from datamodules.tabular.statistics import features_of
from datamodules.tabular.store import Table
from datamodules.tabular.targets import Target

# So many training rows show it; below the least, a perfect column may be luck.
MOST_ROWS, LEAST_ROWS = 10_000, 50
# Of rows that it was not fitted to, one column may miss 1 % and a twentieth of what guessing the
# most frequent class misses; of a regression's variance it must explain 99.9 %.
MOST_ERRORS, SHARE_OF_GUESSING, LEAST_R2 = 0.01, 0.05, 0.999
# A value that was not seen tells nothing; such rows do not count while they are few.
LEAST_SEEN = 0.95


def giveaways(table: Table, target: Target, train: np.ndarray, used: set[str]) -> list[str]:
    """Return a sentence on each column from which alone the target can be told.

    Each half of a sample of training rows is told from the other half: by the same value of the
    column, of numbers by the nearest one.

    Args:
        table: The table.
        target: What is predicted.
        train: The training rows.
        used: The features that are used.
    """
    if len(train) < LEAST_ROWS:
        return []
    drawn, rows = sample(table.rows, train, MOST_ROWS)
    if target.codes is None:
        truth = np.asarray(target.values)[drawn]
    else:
        truth = target.codes[drawn].astype(np.int64)
    first = np.random.default_rng(1).permutation(len(drawn)) % 2 == 0
    names, sentences = [*table.numeric, *table.categories], []
    column_of = {feature: c["name"] for c in table.columns for feature in features_of(c)}
    for i, name in enumerate(names):
        if name not in used:
            continue
        is_number = i < len(table.numeric)
        values, told = _present(rows[:, i]), np.empty_like(truth)
        seen = np.ones(len(drawn), dtype=bool)
        for one in (first, ~first):
            tell = _number if target.codes is None else _class
            told[~one] = tell(values[one], truth[one], values[~one], is_number)
            if not is_number:
                seen[~one] = np.isin(values[~one], values[one])
        if seen.mean() < LEAST_SEEN:
            continue
        if (share := _telling(told[seen], truth[seen], target.codes is not None)) is not None:
            column = column_of[name]
            sentences.append(
                f"'{column}' alone tells {share:.1%} of '{', '.join(target.names)}'; if it is "
                f"known only together with it, leave it out: --data.drop '[{column}]'"
            )
    return list(dict.fromkeys(sentences))


def _class(known: np.ndarray, truth: np.ndarray, asked: np.ndarray, is_number: bool) -> np.ndarray:
    """Tell classes by the most frequent one of the same value, of numbers of the nearest value."""
    values, at = np.unique(known, return_inverse=True)
    counts = np.zeros((len(values), truth.max() + 1), dtype=np.int64)
    np.add.at(counts, (at, truth), 1)
    index, same = _nearest(values, asked)
    return np.where(same | is_number, counts.argmax(axis=1)[index], np.bincount(truth).argmax())


def _number(known: np.ndarray, truth: np.ndarray, asked: np.ndarray, is_number: bool) -> np.ndarray:
    """Tell numbers by the mean at the same value, between two values of numbers on a line."""
    values, at, counts = np.unique(known, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(at, weights=t) / counts for t in truth.T], axis=1)
    if is_number:
        return np.stack([np.interp(asked, values, mean) for mean in means.T], axis=1)
    index, same = _nearest(values, asked)
    return np.where(same[:, None], means[index], truth.mean(axis=0))


def _present(values: np.ndarray) -> np.ndarray:
    """Give missing cells a value of their own, below all others."""
    values = values.astype(np.float64)
    there = values[~np.isnan(values)]
    return np.nan_to_num(values, nan=(there.min() if len(there) else 0.0) - 1.0)


def _nearest(values: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of ascending values is nearest, and whether it is the same."""
    right = np.searchsorted(values, asked).clip(1, len(values) - 1) if len(values) > 1 else None
    if right is None:
        return np.zeros(len(asked), dtype=np.int64), asked == values[0]
    left_is_nearer = asked - values[right - 1] <= values[right] - asked
    index = np.where(left_is_nearer, right - 1, right)
    return index, values[index] == asked


def _telling(told: np.ndarray, truth: np.ndarray, classes: bool) -> float | None:
    """Return the share of the target that is told, if it is more than honest columns tell."""
    if classes:
        errors = float((told != truth).mean())
        guessing = 1 - np.bincount(truth).max() / len(truth)
        return 1 - errors if errors <= min(MOST_ERRORS, SHARE_OF_GUESSING * guessing) else None
    around: Any = truth - truth.mean(axis=0)
    unexplained = ((told - truth) ** 2).sum(axis=0) / (around**2).sum(axis=0)
    share = 1 - float(unexplained.max())
    return share if share >= LEAST_R2 else None
