"""Whole numbers that stand for places or things rather than quantities: told before training."""

import re
from typing import Any

import numpy as np

from datamodules.tabular.rows import blocks, sample
from datamodules.tabular.store import Table
from datamodules.tabular.targets import Target

MOST_ROWS, LEAST_ROWS = 20_000, 200
# As many of a column get an embedding of their own.
MOST_VALUES = 2_000
# Fewer values than these are read well enough as numbers; codes come back, so many times at least.
LEAST_VALUES, LEAST_REPEATS = 8, 3
# What more of the rows hold is one value apart, as -1 or 0 for "none", of quantities, too.
MOST_SHARE = 0.25
# So much better than its neighbours' targets must a value's own be, and so many standard errors.
LEAST_GAIN, LEAST_ERRORS = 0.01, 4.0
NEIGHBOURS, PRIOR = 5, 5.0
_CODE_NAME = re.compile(
    r"(^|[\W_])(zip|zip_?code|post(al)?_?code|postal|plz|codes?|ids?|no|nr|num|number|county|fips|"
    r"region|district|ward|precinct|branch|store|shop|hospital|clinic|station|route|sku|naics|sic)"
    r"([\W_\d]|$)|[a-z](Id|ID|Code|No|Nr|Num|Number)$"
)


def find(table: Table, target: Target, train: np.ndarray, used: set[str]) -> list[str]:
    """Return the names of the columns of numbers which may be codes.

    A column is one by its name, or because a value's own rows tell the target of other rows of the
    same value clearly better than the rows of the next values do: of a quantity they do not.

    Args:
        table: The table.
        target: What is predicted.
        train: The training rows.
        used: The features that are used.
    """
    if len(train) < LEAST_ROWS:
        return []
    drawn, rows = sample(table.rows, train, MOST_ROWS)
    truth, first = _truth(target, drawn), np.random.default_rng(1).random(len(drawn)) < 0.5
    plain = {c["name"] for c in table.columns if c["kind"] == "numeric" and not c.get("forced")}
    found = []
    for i, name in enumerate(table.numeric):
        if name not in used or name not in plain:
            continue
        values = rows[:, i].astype(np.float64)
        distinct, at, counts = np.unique(values, return_inverse=True, return_counts=True)
        there = ~np.isnan(values)
        whole = bool((values[there] % 1 == 0).all())
        if not (whole and LEAST_VALUES <= len(distinct) <= there.sum() / LEAST_REPEATS):
            continue
        named = bool(_CODE_NAME.search(name) or _CODE_NAME.search(name.lower()))
        told = there & (counts[at] <= MOST_SHARE * there.sum())
        if named or _tells_by_itself(values[told], truth[told], first[told]):
            found.append(name)
    return found


def hint(found: list[str]) -> list[str]:
    """Return a sentence that names columns which may be codes; nothing if there are none."""
    if not found:
        return []
    names = ", ".join(f"'{name}'" for name in found)
    return [
        f"{names}: whole numbers that may be codes, of places or things, rather than quantities; "
        f"if so, --data.categorical '[{', '.join(found)}]' reads them as categories"
    ]


def described(found: list[str]) -> list[str]:
    """Say in a sentence which columns are read by value, too; nothing if there are none."""
    if not found:
        return []
    names = ", ".join(f"'{name}'" for name in found[:6])
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    return [
        f"{names}{more}: read as a number and by value, as codes are: for the name, or because "
        "single values tell more than those beside them"
    ]


def values(table: Table, name: str, train: np.ndarray) -> list[float]:
    """Return what a column of codes holds twice or more in the training rows, ascending."""
    feature = list(table.numeric).index(name)
    cells = np.concatenate([block[:, feature] for block in blocks(table.rows, train)])
    found, counts = np.unique(cells[~np.isnan(cells)], return_counts=True)
    frequent = np.argsort(-counts, kind="stable")[:MOST_VALUES]
    return sorted(float(found[i]) for i in frequent if counts[i] > 1)


def _truth(target: Target, rows: np.ndarray) -> np.ndarray:
    """Return the targets as columns of one scale: numbers, or the most frequent classes."""
    if target.codes is None:
        values = np.asarray(target.values)[rows].astype(np.float64)
        return (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-30)
    codes = target.codes[rows]
    frequent = np.argsort(-np.bincount(codes), kind="stable")[: 10 if len(set(codes)) > 2 else 1]
    return (codes[:, None] == frequent).astype(np.float64)


def _tells_by_itself(values: np.ndarray, truth: np.ndarray, first: np.ndarray) -> bool:
    """Compare, on rows that were left out, a value's own mean with that of the values around it."""
    of_neighbours, of_own = np.empty(len(values)), np.empty(len(values))
    for one in (first, ~first):
        if not one.any() or one.all():
            return False
        distinct, at = np.unique(values[one], return_inverse=True)
        counts = np.bincount(at).astype(np.float64)
        sums = np.stack([np.bincount(at, weights=t) for t in truth[one].T], axis=1)
        around = (_window(sums) - sums) / np.maximum(_window(counts[:, None]) - counts[:, None], 1)
        own = (sums + PRIOR * around) / (counts + PRIOR)[:, None]
        place = np.searchsorted(distinct, values[~one]).clip(max=len(distinct) - 1)
        for errors, means in ((of_neighbours, around), (of_own, own)):
            errors[~one] = ((means[place] - truth[~one]) ** 2).sum(axis=1)
    better: Any = of_neighbours - of_own
    gain = better.mean() / max(of_neighbours.mean(), 1e-30)
    error = better.std() / len(better) ** 0.5
    return bool(gain > LEAST_GAIN and better.mean() > LEAST_ERRORS * error)


def _window(values: np.ndarray) -> np.ndarray:
    """Return the sum over each row and the five on either side of it."""
    padded = np.pad(values, ((NEIGHBOURS + 1, NEIGHBOURS), (0, 0))).cumsum(axis=0)
    return padded[2 * NEIGHBOURS + 1 :] - padded[: -2 * NEIGHBOURS - 1]
