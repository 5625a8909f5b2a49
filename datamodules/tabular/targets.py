"""What is predicted: the task, the classes and the targets, told from the target columns."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from datamodules.errors import UserError
from datamodules.spec import Task
from datamodules.tabular.store import Table

# Whole numbers with at most so many different values are classes; more are quantities.
FEW = 20
BLOCK = 1 << 18
# More classes than that are texts, or a quantity.
MAX_CLASSES = 1_000
TASKS = get_args(Task)
# A network and its metrics have single precision: sums of squares end at 3e38 and begin at 1e-38,
# and a number has 7 digits.
LARGEST, LEAST_SPREAD, LEAST_DIGITS = 1e15, 1e-15, 100


@dataclass
class Target:
    """The target of every row.

    Args:
        task: `binary`, `multiclass` or `regression`.
        names: The target columns.
        class_names: The classes; empty for regression.
        codes: (N,) the class of every row, in the order of the names; None for regression.
        values: (N, targets) float32, for regression.
        notes: What a user should know.
    """

    task: Task
    names: list[str]
    class_names: list[str]
    codes: np.ndarray | None
    values: np.ndarray | None
    notes: list[str]

    def with_positive(self, name: str) -> "Target":
        """Return it with this class as the second of two: the one that is looked for.

        Raises:
            UserError: If there is no such class, or there are not two.
        """
        if self.task != "binary" or name not in self.class_names:
            classes = ", ".join(self.class_names[:8]) or "none: it is a regression"
            raise UserError(
                f"--data.positive {name} names no class of two of '{self.names[0]}', whose classes "
                f"are {classes}."
            )
        if name == self.class_names[1]:
            return self
        assert self.codes is not None  # there are two classes
        return replace(self, class_names=self.class_names[::-1], codes=1 - self.codes)

    def balance(self, rows: np.ndarray) -> dict[str, int] | None:
        """Return how many of these rows each class has; None for regression."""
        if self.codes is None:
            return None
        counts = np.bincount(self.codes[rows], minlength=len(self.class_names)).tolist()
        return dict(zip(self.class_names, counts, strict=True))

    def tensor(self, rows: np.ndarray) -> Tensor:
        """Return the targets of rows as a network's loss takes them."""
        if self.codes is None:
            return torch.from_numpy(np.asarray(self.values)[rows].astype(np.float32))
        codes = torch.from_numpy(self.codes[rows])
        return codes.float() if self.task == "binary" else codes.long()


def read(table: Table, task: Task | None, varied: bool = True) -> Target:
    """Find out what is predicted.

    Args:
        table: The table.
        task: What the user says it is, or None.
        varied: Refuse a target that is the same in every row, of which nothing can be learnt.

    Raises:
        UserError: If the targets do not fit the task, or there is one class only.
    """
    columns = table.target_columns
    names = [column["name"] for column in columns]
    if task not in (None, *TASKS):
        raise UserError(f"--data.task {task} is not one of {', '.join(TASKS)}.")
    if len(columns) > 1 or task == "regression":
        return _regression(table, names, task, varied)
    column, values = columns[0], table.targets[:, 0]
    if "values" in column:
        found = _distinct(values, len(column["values"]))
        assert found is not None  # they are codes of no more values than these
        present = found.astype(np.int64)
        labels = [column["values"][i] for i in present]
        notes: list[str] = []
        if not column.get("forced"):
            labels, notes = _typed_alike(names[0], labels, present, values)
        return _classes(names[0], labels, present, values, task, varied, notes)
    distinct = _distinct(values, MAX_CLASSES)
    if task is None and _is_quantity(distinct, len(values)):
        return _regression(table, names, task, varied)
    if distinct is None:
        raise UserError(
            f"The target '{names[0]}' has more than {MAX_CLASSES:,} different values, too many for "
            f"classes; {f'leave --data.task {task} out, or ' if varied else ''}name another "
            "--data.target."
        )
    labels = [
        f"{value:.0f}" if value == round(value) and abs(value) < 1e16 else f"{value:g}"
        for value in distinct
    ]
    return _classes(names[0], labels, distinct, values, task, varied, [])


def _blocks(values: np.ndarray) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, len(values), BLOCK))


def _distinct(values: np.ndarray, limit: int) -> np.ndarray | None:
    """Return the different values, ascending; None if there are more than `limit`."""
    found = np.empty(0)
    for block in _blocks(values):
        found = np.union1d(found, values[block])
        if len(found) > limit:
            return None
    return found


def _is_quantity(distinct: np.ndarray | None, rows: int) -> bool:
    """Say whether numbers are quantities: fractions, or many different whole numbers."""
    if distinct is None:
        return True
    if len(distinct) <= 2:
        return False
    return len(distinct) > min(FEW, rows**0.5) or bool((distinct % 1).any())


def _classes(
    name: str,
    labels: list[str],
    marks: np.ndarray,
    values: np.ndarray,
    task: Task | None,
    varied: bool,
    notes: list[str],
) -> Target:
    names = sorted(set(labels), key=_natural)
    if len(names) == 1 and varied:
        raise UserError(
            f"The target '{name}' is '{labels[0]}' in every row: there is nothing to tell apart. "
            "Name another column with --data.target, or add rows of another class."
        )
    if task == "binary" and len(names) > 2:
        raise UserError(
            f"--data.task binary needs two classes, but '{name}' has {len(names)}: "
            f"{', '.join(names[:8])}{', ...' if len(names) > 8 else ''}. Leave --data.task out."
        )
    number = {label: i for i, label in enumerate(names)}
    lookup = np.array([number[label] for label in labels], dtype=np.int64)
    codes = np.empty(len(values), dtype=np.int16)
    for block in _blocks(values):
        codes[block] = lookup[np.searchsorted(marks, values[block])]
    notes = notes + [
        f"class '{names[i]}' of '{name}' has one row, which trains: it is neither validated "
        "nor tested; add rows or merge it with another class"
        for i in np.flatnonzero(np.bincount(codes) == 1)[:5]
    ]
    if nothing := [label for label in names if label.lower() == "none"]:
        notes.append(
            f"'{nothing[0]}' is read as a class of '{name}'; if nothing is known of these rows, "
            f"say --data.missing {nothing[0]}"
        )
    if task is None and len(names) > 2 and all(_natural(label)[0] == 0 for label in names):
        notes.append(
            f"the {len(names)} whole numbers of '{name}' are read as classes; if they are "
            "quantities, such as counts or scores, say --data.task regression"
        )
    task = task or ("binary" if len(names) == 2 else "multiclass")
    return Target(task, [name], names, codes, None, notes)


def bare(label: str) -> str:
    """Return a class's name without what only tells how it was typed: case, blanks, punctuation.

    A single letter is left as it is: `a` and `A` may well be two classes.
    """
    stripped = label.strip(" .,;:!\t")
    return stripped.casefold() if len(stripped) > 1 else label


def _typed_alike(
    name: str, labels: list[str], marks: np.ndarray, values: np.ndarray
) -> tuple[list[str], list[str]]:
    """Give classes that differ in typing alone one name, as of files joined from two sources.

    Returns:
        The name of each label: of those that are alike the shortest, the most frequent of these;
        and what to tell of it.
    """
    if len({bare(label) for label in labels}) == len(labels):
        return labels, []
    counts = [
        sum(int((values[block] == mark).sum()) for block in _blocks(values)) for mark in marks
    ]
    first: dict[str, str] = {}
    for _, _, label in sorted((len(n), -c, n) for n, c in zip(labels, counts, strict=True)):
        first.setdefault(bare(label), label)
    names = [first[bare(label)] for label in labels]
    pairs = [(label, new) for label, new in zip(labels, names, strict=True) if label != new]
    alike = ", ".join(f"'{label}' as '{new}'" for label, new in pairs[:5])
    return names, [
        f"classes of '{name}' that differ in case or punctuation alone are one: {alike} is read; "
        f"--data.categorical '[{name}]' keeps them apart"
    ]


def _natural(label: str) -> tuple[int, float, str]:
    """Sort numbers by size and before texts."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label.lower()


def _regression(table: Table, names: list[str], task: Task | None, varied: bool) -> Target:
    for column in table.target_columns:
        if "values" in column:
            raise UserError(
                f"The target '{column['name']}' holds texts ('{column['values'][0]}'), which "
                + (
                    "are no quantities; leave --data.task regression out."
                    if task == "regression"
                    else "cannot be one of several targets; name a single --data.target."
                )
            )
    values = np.asarray(table.targets[:, : len(names)])
    constant = [n for n, v in zip(names, values.T, strict=True) if v.min() == v.max()]
    if constant and varied:
        raise UserError(
            f"The target '{constant[0]}' is {values[0, names.index(constant[0])]:g} in every row: "
            "there is nothing to learn. Name another column with --data.target."
        )
    for name, column in zip(names, values.T, strict=True):
        _check_range(name, column)
    return Target("regression", names, [], None, values, [])


def _check_range(name: str, values: np.ndarray) -> None:
    """Refuse numbers that single precision would round or whose squares it does not have."""
    low, high = float(values.min()), float(values.max())
    largest, spread = max(abs(low), abs(high)), high / 2 - low / 2
    problem = ""
    if largest > LARGEST or spread < LEAST_SPREAD:
        problem = "whose squares are beyond single precision: predict it in other units"
    elif spread < LEAST_DIGITS * float(np.spacing(np.float32(largest))):
        problem = "which single precision (7 digits) cannot tell apart: subtract what all share"
    if problem:
        raise UserError(f"The target '{name}' goes from {low:.9g} to {high:.9g}, {problem}.")


def moments(target: Target, rows: np.ndarray) -> dict[str, Any]:
    """Return the mean and standard deviation of a regression's training targets."""
    if target.values is None:
        return {}
    values = target.values[rows].astype(np.float64)
    std = values.std(axis=0)
    return {"mean": values.mean(axis=0).tolist(), "std": np.where(std > 0, std, 1.0).tolist()}


def read_costs(costs: str | dict[str, float] | None) -> dict[str, float] | None:
    """Return what a missed example (`fn`) and a false alarm (`fp`) cost.

    Raises:
        UserError: If it says something else.
    """
    if costs is None:
        return None
    try:
        pairs: dict[str, Any]
        if isinstance(costs, dict):
            pairs = costs
        else:
            pairs = dict(part.split("=") for part in costs.replace(" ", "").split(","))
        found = {str(name): float(value) for name, value in pairs.items()}
    except (ValueError, TypeError):
        found = {}
    if sorted(found) != ["fn", "fp"] or not all(0 < value < 1e30 for value in found.values()):
        raise UserError(
            f"--data.costs {costs} does not say what a missed example and a false alarm cost, in "
            "numbers above 0: fn=10,fp=1."
        )
    return found


def check_decision(
    target: Target, costs: dict[str, float] | None, interval: float | None, validated: int
) -> None:
    """See that costs or an interval fit what is predicted, and can be fitted.

    Raises:
        UserError: If they do not.
    """
    name = ", ".join(target.names)
    if costs is not None and target.task != "binary":
        raise UserError(f"--data.costs is for two classes; '{name}' is {target.task}.")
    if interval is None:
        return
    if target.task != "regression":
        raise UserError(f"--data.interval is for a regression; '{name}' is {target.task}.")
    least = math.ceil(round(interval / (1 - interval), 9))
    if validated < least:
        raise UserError(
            f"--data.interval {interval:g} needs {least} validation rows or more, not {validated}: "
            "raise --data.val_size."
        )
