"""What a look at a new table's rows shows that would make figures too good, or a network worse."""

from typing import Any

import numpy as np

from datamodules.tabular import codes, duplicates, leaks
from datamodules.tabular.store import Table
from datamodules.tabular.targets import Target


def examine(
    table: Table,
    target: Target,
    rows: dict[str, np.ndarray],
    keep: list[int],
    preprocessing: dict[str, Any],
    hint_codes: bool,
) -> tuple[list[str], list[str]]:
    """Look through the rows for columns that give the answer away, for codes and duplicates.

    Args:
        table: The table.
        target: What is predicted.
        rows: The rows of every split.
        keep: The numbers of the features that are used.
        preprocessing: What was fitted to them.
        hint_codes: Whether to say which numbers look like codes.

    Returns:
        Sentences on columns that give the answer away, and on everything else.
    """
    used = {entry["name"] for entry in preprocessing["numeric"] + preprocessing["categorical"]}
    telling = leaks.giveaways(table, target, rows["train"], used)
    notes = codes.hint(codes.find(table, target, rows["train"], used)) if hint_codes else []
    return telling, notes + duplicates.count(table, target, rows, keep)
