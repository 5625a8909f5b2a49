"""What a network needs to read a row, fitted to the training rows: which columns, and how."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datamodules.tabular import codes, selection, statistics
from datamodules.tabular.schema import nothing_left
from datamodules.tabular.statistics import Scaling
from datamodules.tabular.store import Table
from datamodules.tabular.targets import Target

# Numbers are cut off so many standard deviations from the mean.
CLIP = 10.0


@dataclass(frozen=True)
class FitRequest:
    """What the user asks of the preprocessing.

    Args:
        scaling: How numbers are centred and scaled.
        missing_indicators: Whether a feature says where it was missing; "auto" where training rows
            are.
        bins: Into how many quantile bins numbers are also encoded.
        selects: Only columns that tell more than chance are read, of more columns than rows.
        embeds_codes: Each value of what looks like a code is learnt of by itself.
    """

    scaling: Scaling
    missing_indicators: bool | Literal["auto"]
    bins: int
    selects: bool
    embeds_codes: bool


def fit(
    table: Table, target: Target, train: np.ndarray, request: FitRequest
) -> tuple[dict[str, Any], list[int]]:
    """Fit the preprocessing to the training rows; what was done goes into the target's notes.

    Args:
        table: The table.
        target: What is predicted.
        train: The training rows, ascending.
        request: What the user asks.

    Returns:
        The preprocessing as plain JSON, and the numbers of the table's features that it describes.

    Raises:
        UserError: If no column is left.
    """
    numeric, categorical, keep = statistics.fit(
        table, train, request.scaling, request.missing_indicators, request.bins
    )
    if request.selects and len(keep) > len(train):
        chosen = selection.most_telling(table, target, train, keep)
        target.notes.append(selection.described(len(chosen), len(keep)))
        entries = numeric + categorical
        numeric = [entries[i] for i in chosen if i < len(numeric)]
        categorical = [entries[i] for i in chosen[len(numeric) :]]
        keep = [keep[i] for i in chosen]
    if request.embeds_codes:
        by_name = {entry["name"]: entry for entry in numeric}
        found = codes.find(table, target, train, set(by_name))
        for name in found:
            by_name[name]["values"] = codes.values(table, name, train)
        target.notes += codes.described(found)
    if not keep:
        report = table.report
        raise nothing_left(Path(report.files[0]), report.dropped, report.notes)
    used = {entry["name"] for entry in numeric + categorical}
    columns = [c for c in table.columns if used & set(statistics.features_of(c))]
    described = {"kind": "table", "columns": columns, "numeric": numeric}
    return {**described, "categorical": categorical, "clip": CLIP}, keep
