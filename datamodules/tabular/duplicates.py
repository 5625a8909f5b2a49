"""Rows that are on both sides of a split: what was learnt by heart is then tested."""

import numpy as np

from datamodules.tabular.rows import blocks
from datamodules.tabular.store import Table
from datamodules.tabular.targets import Target


def count(table: Table, target: Target, rows: dict[str, np.ndarray], keep: list[int]) -> list[str]:
    """Return a sentence on each split that has rows of the training split.

    Args:
        table: The table.
        target: What is predicted.
        rows: The rows of every split.
        keep: The numbers of the features that are used.
    """
    columns = np.asarray(keep)
    factors = np.random.default_rng(0).integers(1, 2**63, len(columns), dtype=np.uint64) | 1
    of_target = np.random.default_rng(1).integers(1, 2**63, dtype=np.uint64) | 1
    answers = np.asarray(target.values)[:, 0] if target.codes is None else target.codes

    def marks(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a number for each row, equal where all columns are; and one with its target."""
        found = [_mark(block[:, columns], factors) for block in blocks(table.rows, index)]
        features = np.concatenate(found) if found else np.empty(0, dtype=np.uint64)
        said = np.ascontiguousarray(answers[index], dtype=np.float64).view(np.uint64)
        return features, features ^ ((said ^ (said >> np.uint64(29))) * of_target)

    known = marks(rows["train"])
    sentences = []
    for split in ("val", "test"):
        if not len(rows[split]):
            continue
        alike, same = (
            int(np.isin(here, there).sum())
            for here, there in zip(marks(rows[split]), known, strict=True)
        )
        if alike:
            sentences.append(
                f"{alike:,} of {len(rows[split]):,} {split} rows ({alike / len(rows[split]):.1%}) "
                f"are alike to a training row in all columns, {same:,} of them in the target, too"
            )
    if sentences:
        sentences[-1] += "; if they are the same ones, --data.group COLUMN keeps them on one side"
    return sentences


def _mark(block: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Hash rows of float32: equal rows, missing cells too, are equal, others with 2^-64."""
    values = np.where(np.isnan(block), np.float32(np.nan), block + np.float32(0))  # one NaN, no -0
    bits = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    mixed = bits * factors
    mixed = (mixed ^ (mixed >> np.uint64(31))) * factors
    return mixed.sum(axis=1, dtype=np.uint64)
