"""Which columns are worth reading where a table has more of them than rows."""

import numpy as np

from datamodules.tabular.rows import blocks
from datamodules.tabular.store import Table
from datamodules.tabular.targets import Target

# What a column tells is measured by the target's means in so many bins of about equal size, and by
# its slope over the ranks. Of 2,000 columns of 210 rows the eight best have 86 % of those that
# matter where these are steps, 84 % of slopes, 75 % of bumps, 32 % of such as matter together (six
# bins alone: 86, 70, 58, 22 %; means of 40 draws that the choice did not see).
BINS = 4
# Permutations of the target that show what columns tell by chance.
PERMUTATIONS = 10
# Of the columns that are kept as telling, so many may be so by chance (Benjamini and Hochberg).
FALSE_DISCOVERIES = 0.2
FEWEST = 8


def most_telling(table: Table, target: Target, train: np.ndarray, keep: list[int]) -> list[int]:
    """Return the columns that tell more of the target than chance would, on the training rows.

    Each by itself: by how much less the target varies inside the column's bins, or its categories,
    than over all rows; of numbers also by the target's slope, whichever is less likely by chance.

    Args:
        table: The table.
        target: What is predicted.
        train: The training rows.
        keep: The numbers of the table's features to choose from.

    Returns:
        The places in `keep` of those that are worth it, ascending: at least eight, and at most as
        many as rows.
    """
    rows = np.concatenate(list(blocks(table.rows, train)))
    truth = _truth(target, train)
    random = np.random.default_rng(0)
    shuffled = [truth[random.permutation(len(truth))] for _ in range(PERMUTATIONS)]
    every = np.concatenate([truth, *shuffled], axis=1)
    scores = np.empty((len(keep), PERMUTATIONS + 1))
    for place, feature in enumerate(keep):
        values, is_number = rows[:, feature], feature < len(table.numeric)
        told = _of_bins(_bins(values, is_number), every)
        if is_number:
            told = np.maximum(told, _of_slope(_ranks(values), every))
        scores[place] = told.reshape(PERMUTATIONS + 1, -1).mean(axis=1)
    own, chance = scores[:, 0], np.sort(scores[:, 1:].ravel())
    p = 1 - np.searchsorted(chance, own) / len(chance)
    order = np.lexsort((-own, p))
    limit = FALSE_DISCOVERIES * np.arange(1, len(keep) + 1) / len(keep)
    passed = np.flatnonzero(p[order] <= limit)
    count = int(np.clip(passed[-1] + 1 if len(passed) else 0, FEWEST, len(train)))
    return sorted(order[:count].tolist())


def described(count: int, of: int) -> str:
    """Say in a sentence what was left out."""
    return (
        f"of {of:,} columns, more than there are training rows, the {count:,} that tell most of it "
        "by themselves are read; --data.select all reads every one"
    )


def _truth(target: Target, rows: np.ndarray) -> np.ndarray:
    """Return the targets as columns of mean 0 and variance 1: numbers, or a column per class."""
    if target.codes is None:
        values = np.asarray(target.values)[rows].astype(np.float64).reshape(len(rows), -1)
    else:
        classes = np.arange(1 if len(target.class_names) == 2 else len(target.class_names))
        values = (target.codes[rows][:, None] == classes).astype(np.float64)
    return (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-30)


def _bins(values: np.ndarray, is_number: bool) -> np.ndarray:
    """Return the number of each row's bin; missing values have one of their own."""
    missing = np.isnan(values)
    edges = np.unique(values[~missing])
    if is_number and len(edges) > BINS:
        edges = np.unique(np.quantile(values[~missing], np.arange(1, BINS) / BINS))
    return np.where(missing, len(edges) + 1, np.searchsorted(edges, values, side="right"))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks of mean 0 and variance 1; equal values share theirs, and missing ones are 0."""
    missing = np.isnan(values)
    _, at, counts = np.unique(values[~missing], return_inverse=True, return_counts=True)
    ranks = np.zeros(len(values))
    ranks[~missing] = (np.cumsum(counts) - counts / 2)[at]
    ranks[~missing] -= ranks[~missing].mean() if len(at) else 0.0
    return ranks / max(ranks.std(), 1e-30)


def _of_bins(bins: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return how far each target's variance between the bins is above chance."""
    counts = np.bincount(bins)
    inside = counts > 0
    sums = np.stack([np.bincount(bins, weights=t) for t in truth.T], axis=1)[inside]
    between = (sums**2 / counts[inside][:, None]).sum(axis=0) / len(bins)
    return _above_chance(between, int(inside.sum()) - 1, len(bins))


def _of_slope(ranks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return how far what a line through the ranks explains of each target is above chance."""
    return _above_chance((ranks @ truth / len(ranks)) ** 2, 1, len(ranks))


def _above_chance(explained: np.ndarray, freedom: int, rows: int) -> np.ndarray:
    """Return shares of variance as about standard normal numbers, were there nothing to explain.

    F's cube root is nearly normal (Wilson and Hilferty, 1931), so that few bins, many and slopes
    can be compared.
    """
    freedom = max(freedom, 1)
    inside = np.maximum(1 - explained, 1e-12) / max(rows - 1 - freedom, 1)
    spread = 2 / (9 * freedom)
    return (np.cbrt(explained / freedom / inside) - (1 - spread)) / spread**0.5
