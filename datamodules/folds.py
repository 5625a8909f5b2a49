"""Cross-validation: which examples each fold holds out."""

from typing import Any

import numpy as np

from datamodules.batches import derived_seed
from datamodules.errors import UserError


def check_folds(folds: int | None, fold: int) -> None:
    """Refuse numbers that name no fold.

    Raises:
        UserError: If there are fewer than two folds, or `fold` is none of them.
    """
    if folds is not None and folds < 2:
        raise UserError(f"--data.folds must be at least 2, not {folds}.")
    if folds is not None and not 0 <= fold < folds:
        raise UserError(f"--data.fold must be one of 0 to {folds - 1}, not {fold}.")


def hold_out_fold(
    count: int, folds: int, fold: int, classes: Any, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split `range(count)` into what a fold trains on and what it holds out, both ascending.

    Every example is held out by one fold. The folds differ by one example at most, and in each
    class, too.

    Args:
        count: How many examples there are.
        folds: How many folds.
        fold: Which one, from 0.
        classes: The class of every example, as numbers; None for a regression.
        seed: Seed of the folds: the same for all of them.

    Raises:
        UserError: If a class, or all examples, are fewer than the folds.
    """
    order = np.random.default_rng(derived_seed(seed, "folds")).permutation(count)
    if classes is not None:
        classes = np.asarray(classes).astype(np.int64).reshape(-1)
        order = order[np.argsort(classes[order], kind="stable")]
    sizes = [count] if classes is None else np.bincount(classes)[np.unique(classes)].tolist()
    if min(sizes) < folds:
        what = "examples" if classes is None else "examples of the smallest class"
        raise UserError(
            f"There are {min(sizes)} {what} for {folds} folds; give --folds {max(min(sizes), 2)} "
            "or fewer."
        )
    held = np.zeros(count, dtype=bool)
    held[order[fold::folds]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
