"""Which rows train, validate and test."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from datamodules.errors import UserError
from datamodules.folds import hold_out_fold
from datamodules.tabular.store import Table
from datamodules.tabular.targets import Target
from datamodules.tabular.units import Units, count_of, in_time

BLOCK = 1 << 18
# What a split column may say, in lower case.
ROLE_WORDS = {
    "train": {"train", "training", "tr", "fit"},
    "val": {"val", "valid", "validation", "dev", "eval"},
    "test": {"test", "testing", "te", "holdout"},
}


@dataclass(frozen=True)
class SplitRequest:
    """What the user asks of a table's splits.

    Args:
        val_size: Rows to validate on, as a number or a fraction of all; 0 for none.
        test_size: Rows to test on, likewise.
        seed: Seed of both.
        folds: Of how many folds one is held out as the test split, if so.
        fold: Which one, from 0.
        column: The column that says how to split.
        option: What that column is for: `split_column`, `group` or `time`.
    """

    val_size: int | float
    test_size: int | float
    seed: int
    folds: int | None = None
    fold: int = 0
    column: str | None = None
    option: str = "split_column"


def of_table(
    table: Table, target: Target, request: SplitRequest, all_classes: bool = True
) -> dict[str, np.ndarray]:
    """Return the rows of train, val and test, as files, a column, folds or sizes say.

    How groups and times were split goes into the target's notes.

    Args:
        table: The table.
        target: What is predicted.
        request: What the user asks.
        all_classes: Refuse a split that leaves a class without training rows.

    Raises:
        UserError: If two of these contradict each other, or a split would be empty.
    """
    roles: dict[str, list[np.ndarray]] = {}
    for role, start, stop in table.parts:
        roles.setdefault("train" if role == "all" else role, []).append(
            np.arange(start, stop, dtype=np.int32)
        )
    given = {role: np.concatenate(found) for role, found in roles.items()}
    units = _units(table, request)
    if table.split_values and units is None:
        if len(given) > 1:
            raise UserError("Give either --data.split_column or files for the splits.")
        given = by_column(table.targets[:, -1], table.split_values, str(request.column))
    for role, index in given.items():
        if not len(index):
            raise UserError(f"No row with a target is left to {role} on.")
    if request.folds:
        pool = given["train"]
        if units is not None:
            kept, held = units.fold(pool, request.folds, request.fold, request.seed)
        else:
            classes = None if target.codes is None else target.codes[pool]
            places = hold_out_fold(len(pool), request.folds, request.fold, classes, request.seed)
            kept, held = pool[places[0]], pool[places[1]]
        given |= {"train": kept, "test": held}
    sizes = request.val_size, request.test_size
    made = make(given, target.codes, *sizes, request.seed, units)
    rows = {role: made[role] for role in ("train", "val", "test")}
    if units is not None:
        target.notes.append(units.told(rows))
    if target.codes is not None and all_classes:
        _check_classes(target.names[0], target.class_names, target.codes[rows["train"]])
    return rows


def _units(table: Table, request: SplitRequest) -> Units | None:
    """Return what is kept on one side of every split, if a column says so."""
    if request.option == "split_column":
        return None
    name, values = str(request.column), table.split_values
    of_row = table.targets[:, -1].astype(np.int64)
    if request.option == "time":
        return in_time(name, of_row, values)
    return Units(name, of_row, False, values)


def _check_classes(name: str, class_names: list[str], train: np.ndarray) -> None:
    """See that each class is among the training rows' ones."""
    absent = np.flatnonzero(np.bincount(train, minlength=len(class_names)) == 0)
    if len(absent):
        raise UserError(
            f"Class '{class_names[absent[0]]}' of '{name}' has rows to validate or test on but "
            "none to train on; move some of them into the training rows, or leave them out."
        )


def hold_out_in_proportion(
    pool: np.ndarray, size: int | float, classes: np.ndarray | None, seed: int, option: str
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows at random into kept and held-out ones, both ascending.

    With classes, each class is held out in proportion (largest remainders), and at least one row of
    each is kept.

    Args:
        pool: Row numbers, ascending.
        size: How many to hold out, as a number or as a fraction below 1.
        classes: The class of every row of the pool, or None.
        seed: Seed of the split.
        option: The name of the option, for the message.

    Raises:
        UserError: If a side would be empty.
    """
    total = len(pool)
    count = count_of(total, size, option)
    order = np.random.default_rng(seed).permutation(np.arange(total, dtype=np.int32))
    held = np.zeros(total, dtype=bool)
    if classes is None:
        held[order[:count]] = True
    else:
        for rows in _first_of_each(order, classes, count, option):
            held[rows] = True
    return pool[~held], pool[held]


def _first_of_each(
    order: np.ndarray, classes: np.ndarray, count: int, option: str
) -> Iterator[np.ndarray]:
    """Yield the first rows of each class in a random order, as many as are its share.

    It goes block by block: for ten million rows one sort would take half a gigabyte.
    """
    sizes = np.bincount(classes)
    quota, met = _quota(sizes, count), np.zeros_like(sizes)
    if not quota.any():
        raise UserError(
            f"--data.{option}: no class has two rows to train on that one could be held out of; "
            "add rows, or say --data.task regression if the target is a quantity."
        )
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        rows = rows[np.argsort(classes[rows], kind="stable")]
        codes = classes[rows]
        here = np.bincount(codes, minlength=len(sizes))
        rank = np.arange(len(rows)) - (np.cumsum(here) - here - met)[codes]
        yield rows[rank < quota[codes]]
        met += here


def _quota(sizes: np.ndarray, count: int) -> np.ndarray:
    """Share `count` among classes in proportion, leaving at least one row of each."""
    exact = sizes * count / sizes.sum()
    quota = np.minimum(np.floor(exact).astype(np.int64), np.maximum(sizes - 1, 0))
    for i in np.argsort(quota - exact, kind="stable"):
        if quota.sum() >= count:
            break
        if quota[i] < sizes[i] - 1:
            quota[i] += 1
    # Many classes of one row each: fill up from the largest ones.
    while quota.sum() < count and (left := sizes - 1 - quota).max() > 0:
        quota[left.argmax()] += 1
    return quota


def by_column(codes: np.ndarray, values: list[str], name: str) -> dict[str, np.ndarray]:
    """Return the rows of each split as a column names them.

    Raises:
        UserError: If it holds another word, or no row trains.
    """
    roles: dict[str, list[np.ndarray]] = {"train": [], "val": [], "test": []}
    for code, value in enumerate(values):
        role = next((r for r, words in ROLE_WORDS.items() if value.lower() in words), None)
        if role is None:
            raise UserError(
                f"--data.split_column '{name}' holds '{value}'; it should say train, val or test."
            )
        roles[role].append(np.flatnonzero(codes == code))
    rows = {role: np.sort(np.concatenate(found)) for role, found in roles.items() if found}
    if "train" not in rows:
        raise UserError(f"--data.split_column '{name}' names no row train.")
    return rows


def make(
    given: Mapping[str, np.ndarray],
    classes: np.ndarray | None,
    val: int | float,
    test: int | float,
    seed: int,
    units: Units | None = None,
) -> dict[str, np.ndarray]:
    """Return the rows of train, val and test.

    Args:
        given: The rows whose split is known, among them `train`, out of which missing splits are
            held out: first test, then val.
        classes: The class of every row of the table, or None.
        val: Rows to validate on, as a number or a fraction of the whole pool; 0 for none.
        test: Rows to test on, likewise.
        seed: Seed of both.
        units: What is kept on one side.
    """
    rows = dict(given)
    pool = len(rows["train"])
    for role, size, offset in (("test", test, 0), ("val", val, 1)):
        if role in rows:
            continue
        train = rows["train"]
        if size == 0:
            rows[role] = train[:0]
            continue
        if 0 < size < 1:  # of the pool as it was, so that 0.15 and 0.15 are equally large
            size = size * pool / len(train) if size * pool < len(train) else size
        strata = None if classes is None else classes[train]
        option = f"{role}_split"
        if units is not None:
            held = units.held_out(train, size, strata, seed + offset, option)
        else:
            held = hold_out_in_proportion(train, size, strata, seed + offset, option)
        rows["train"], rows[role] = held
    return rows
