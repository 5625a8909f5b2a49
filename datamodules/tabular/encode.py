"""A new table as the numbers that a trained network reads, from its saved preprocessing alone."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from datamodules.errors import UserError, nearest
from datamodules.tabular import columns as kinds
from datamodules.tabular.anomalies import Anomalies
from datamodules.tabular.columns import Column
from datamodules.tabular.dialect import MISSING


def source_columns(preprocessing: dict[str, Any]) -> list[str]:
    """Return the names of the columns that a network needs."""
    return [column["name"] for column in preprocessing["columns"]]


def check_columns(present: list[str], preprocessing: dict[str, Any], where: str) -> None:
    """See that a table has the columns that a network needs.

    Raises:
        UserError: Which names those that are missing.
    """
    missing = [name for name in source_columns(preprocessing) if name not in present]
    if not missing:
        return
    hints = []
    for name in missing[:5]:
        close = nearest(name, [p for p in present if p not in source_columns(preprocessing)])
        hints.append(f"'{name}'" + (f" (is it '{close[0]}'?)" if close else ""))
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    raise UserError(
        f"{where} lacks {len(missing)} of the {len(source_columns(preprocessing))} columns that "
        f"the network was trained on: {', '.join(hints)}{more}. It has: "
        f"{', '.join(map(str, present[:30]))}."
    )


def encode_frame(
    frame: pd.DataFrame,
    preprocessing: dict[str, Any],
    decimal: str | None = None,
    where: str = "The table",
    anomalies: Anomalies | None = None,
) -> Tensor:
    """Turn rows into what the network reads, by column name.

    Columns may stand in any order and be texts, as they are written in a file, or typed; further
    columns are ignored. What cannot be read as the number or date that it should be counts as
    missing, a category that training did not see as unseen.

    Args:
        frame: The rows.
        preprocessing: The `preprocessing` of a datamodule, a checkpoint or a card.
        decimal: The decimal mark of numbers that are texts; by default that of the training file.
        where: What the table is called in messages.
        anomalies: Where to count what training had nothing like.

    Returns:
        (N, features) float32: numeric features with NaN where missing, then category codes with
        -1 where unseen and NaN where missing.

    Raises:
        UserError: If a column is missing.
    """
    check_columns([str(name) for name in frame.columns], preprocessing, where)
    frame = frame.rename(columns=str)
    if frame.columns.has_duplicates:
        frame = frame.loc[:, ~frame.columns.duplicated()]
    missing = {*MISSING, *preprocessing.get("missing", ())}
    entries = {entry["name"]: entry for entry in preprocessing["categorical"]}
    features: dict[str, np.ndarray] = {}
    for described in preprocessing["columns"]:
        column = Column(**described)
        if decimal is not None:
            column.decimal = decimal
        cells = frame[column.name]
        if cells.dtype.kind == "M":
            cells = cells.dt.strftime(column.format)
        cells = kinds.without_missing(cells, missing)
        if column.name in entries:
            codes = features[column.name] = _codes(cells, entries[column.name])
            if anomalies is not None:
                anomalies.see_categories(column.name, cells, codes)
        else:
            encoded = kinds.encode(column, cells)
            if anomalies is not None:
                anomalies.see_numbers(column.name, column.features, cells, encoded)
            encoded[np.abs(encoded) > np.finfo(np.float32).max] = np.nan
            features |= dict(zip(column.features, encoded.T, strict=True))
    if anomalies is not None:
        anomalies.end_chunk(len(frame))
    names = [e["name"] for e in preprocessing["numeric"] + preprocessing["categorical"]]
    rows = np.empty((len(frame), len(names)), dtype=np.float32)
    for i, name in enumerate(names):
        rows[:, i] = features[name]
    return torch.from_numpy(rows)


def _codes(cells: pd.Series, entry: dict[str, Any]) -> np.ndarray:
    codes, values = kinds.factorize(cells)
    places = pd.Index(entry["vocabulary"], dtype=object).get_indexer(kinds.labels(values))
    known = np.append(np.asarray(entry["codes"], dtype=np.float64), -1.0)
    return np.append(known[places], np.nan)[codes]
