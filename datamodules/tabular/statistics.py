"""What the training rows say about each feature: the numbers that travel with the weights."""

import math
from typing import Any, Literal

import numpy as np

from datamodules.errors import UserError
from datamodules.tabular.rows import blocks
from datamodules.tabular.store import Table

Scaling = Literal["standard", "robust", "log", "auto", "none"]

# Quantiles come from at most this many rows, evenly spaced: their error is below 0.2 %.
QUANTILE_ROWS = 200_000
# Of a table with many columns fewer: 120 MB.
QUANTILE_NUMBERS = 30_000_000
# A feature whose values lean further than this to one side is read on a logarithmic scale.
SKEWED = 2.0
# Categories seen less often teach nothing of their own; they teach the slot of unseen ones.
MIN_COUNT = 2
MAX_VOCABULARY = 5_000


def fit(
    table: Table,
    train: np.ndarray,
    scaling: Scaling = "auto",
    missing_indicators: bool | str = "auto",
    bins: int = 0,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[int]]:
    """Fit the preprocessing to the training rows.

    Args:
        table: The whole table.
        train: The training rows, ascending.
        scaling: How numbers are centred and scaled.
        missing_indicators: Whether a feature says where it was missing; "auto" where training rows
            are.
        bins: Into how many quantile bins numbers are also encoded.

    Returns:
        The numeric and the categorical entries of the preprocessing, and the numbers of the
        table's features that they describe, in that order. A column that is constant in the
        training rows is left out, and the table's report says so.
    """
    most = min(len(train), QUANTILE_ROWS, max(1, QUANTILE_NUMBERS // table.rows.shape[1]))
    chosen = np.linspace(0, len(train) - 1, most).astype(np.int64)
    numeric, names = len(table.numeric), list(table.categories)
    # Small blocks: evenly spaced rows touch every page of a mapped table.
    sample = np.concatenate(list(blocks(table.rows, train[chosen], 1 << 13)))[:, :numeric]
    logs = np.array([_log(scaling, column) for column in sample.T], dtype=bool)
    moments, counts = _pass(table, train, logs)
    vocabularies = [
        _vocabulary(name, table.categories[name], count, len(train))
        for name, count in zip(names, counts, strict=True)
    ]
    constant: dict[str, str] = {}
    for name, (found, _, std, low, high) in zip(table.numeric, moments, strict=True):
        # Comparing is exact; the deviation of what is constant may be 1e-17.
        varies = low < high and std > 0
        constant[name] = "" if varies else "has one value only" if found else "has no value"
    for vocabulary, total in zip(vocabularies, counts, strict=True):
        distinct = int(np.count_nonzero(total))
        varies = len(vocabulary["vocabulary"]) > 1 or bool(vocabulary["missing"] and distinct)
        why = ("has no value", "has one value only", "has no value twice")[min(distinct, 2)]
        constant[vocabulary["name"]] = "" if varies else why
    dropped = table.report.dropped
    for column in table.columns:
        if all(reasons := [constant[feature] for feature in features_of(column)]):
            dropped.setdefault(column["name"], f"{reasons[0]} in the training rows")
    keep: list[int] = []
    numbers: list[dict[str, Any]] = []
    of_column = {f: c["name"] for c in table.columns for f in features_of(c)}
    for i, name in enumerate(table.numeric):
        if of_column[name] in dropped or constant[name]:
            continue
        count, mean, std, lowest, highest = moments[i]
        entry: dict[str, Any] = {"name": name, "log": bool(logs[i])}
        entry["indicator"] = bool(
            count < len(train) if missing_indicators == "auto" else missing_indicators
        )
        values = sample[:, i]
        values = _as_log(values[~np.isnan(values)].astype(np.float64), logs[i])
        if scaling == "robust":
            low, mean, high = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
            std = (high - low) / 1.349 or std  # 1.349: the same width of a normal distribution
        if scaling == "none":
            mean, std = 0.0, 1.0
        entry |= {"mean": float(mean), "std": float(std), "low": lowest, "high": highest}
        entry["share_missing"] = round(1 - int(count) / len(train), 6)
        if bins:
            edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
            entry["edges"] = [float(edge) for edge in edges]
        numbers.append(entry)
        keep.append(i)
    kept = [i for i, name in enumerate(names) if name not in dropped]
    categorical = [vocabularies[i] for i in kept]
    return numbers, categorical, [*keep, *(numeric + i for i in kept)]


def features_of(column: dict[str, Any]) -> list[str]:
    """Return the names of the features that a column, as plain JSON, gives."""
    if column["kind"] == "date":
        return [f"{column['name']}.{part}" for part in column["parts"]]
    return [column["name"]]


def _log(scaling: str, values: np.ndarray) -> bool:
    if scaling not in ("log", "auto"):
        return False
    values = values[~np.isnan(values)].astype(np.float64)
    if len(values) < 8 or values.min() < 0 or values.std() == 0:
        return False
    skew = _skew(values)
    return skew > SKEWED and abs(_skew(np.log1p(values))) < skew


def _skew(values: np.ndarray) -> float:
    centred = values - values.mean()
    spread = centred.std()
    return float((centred * centred * centred).mean() / spread**3) if spread > 0 else 0.0


def _as_log(values: np.ndarray, log: bool) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values)) if log else values


def _pass(
    table: Table, train: np.ndarray, logs: np.ndarray
) -> tuple[list[tuple[int, float, float, float, float]], list[np.ndarray]]:
    """Return what every numeric feature holds, and the counts of every category.

    Of a feature it is the number of values, their mean and standard deviation (of logarithms where
    `logs` says so), the lowest and the highest. Sums are taken around the first block's means, in
    float64, so that nothing cancels out.
    """
    numeric = len(table.numeric)
    counts = [np.zeros(len(values), dtype=np.int64) for values in table.categories.values()]
    number = np.zeros(numeric)
    sums, squares, shift = np.zeros(numeric), np.zeros(numeric), None
    low, high = np.full(numeric, np.inf), np.full(numeric, -np.inf)
    for block in blocks(table.rows, train):
        low = np.fmin(low, np.fmin.reduce(block[:, :numeric]))
        high = np.fmax(high, np.fmax.reduce(block[:, :numeric]))
        values = block[:, :numeric].astype(np.float64)
        for feature in np.flatnonzero(logs):
            values[:, feature] = _as_log(values[:, feature], True)
        present = ~np.isnan(values)
        found = present.sum(axis=0)
        np.nan_to_num(values, copy=False)
        if shift is None:
            shift = values.sum(axis=0) / np.maximum(found, 1)
        values -= shift
        values *= present
        number += found
        sums += values.sum(axis=0)
        squares += np.einsum("ij,ij->j", values, values)
        for i, total in enumerate(counts):
            codes = block[:, numeric + i]
            codes = codes[codes >= 0].astype(np.int64)  # NaN compares false
            total += np.bincount(codes, minlength=len(total))
    safe = np.maximum(number, 1)
    shift = np.zeros(numeric) if shift is None else shift
    mean = sums / safe
    std = np.sqrt(np.maximum(squares / safe - mean**2, 0))
    found = number.astype(int), mean + shift, std, low.tolist(), high.tolist()
    return list(zip(*found, strict=True)), counts


def _vocabulary(name: str, values: list[str], counts: np.ndarray, rows: int) -> dict[str, Any]:
    """Return a category column's entry: its values in training, most of them, and their codes."""
    codes = np.flatnonzero(counts >= MIN_COUNT)
    if len(codes) > MAX_VOCABULARY:
        codes = np.sort(codes[np.argsort(-counts[codes], kind="stable")[:MAX_VOCABULARY]])
    return {
        "name": name,
        "vocabulary": [values[code] for code in codes],
        "codes": codes.tolist(),
        "missing": bool(counts.sum() < rows),
        "share_missing": round(1 - int(counts.sum()) / rows, 6),
    }


def class_weights(
    wanted: Literal["balanced"] | list[float] | None, balance: dict[str, int]
) -> list[float] | None:
    """Return a weight for each class: as given, or inverse to its share of the training rows.

    Raises:
        UserError: If there are not as many weights as classes, or they weigh nothing.
    """
    if wanted is None:
        return None
    if wanted == "balanced":
        total = sum(balance.values())
        return [total / (len(balance) * max(count, 1)) for count in balance.values()]
    if len(wanted) != len(balance):
        raise UserError(
            f"--data.class_weights gives {len(wanted)} weights for the {len(balance)} classes "
            f"{', '.join(list(balance)[:8])}."
        )
    if not (min(wanted) >= 0 and 0 < sum(wanted) < math.inf):
        raise UserError(
            f"--data.class_weights {wanted} must be numbers of 0 or more, not all of them 0."
        )
    return [float(weight) for weight in wanted]
