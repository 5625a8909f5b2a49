"""What a table's network goes by: how much worse it gets when one column is shuffled.

L. Breiman (2001), "Random Forests": permutation importance, on validation rows, of the columns as
they stand in the file: all numbers that a date becomes are shuffled together.
"""

from typing import Any

import torch
from torch import Tensor

from datamodules import TensorDataModule
from datamodules.batches import take
from zoo.fitted.calibration import nll
from zoo.module import ZooModule

# So many rows, drawn, and so often; of tables with many columns fewer, which would take long.
MOST_ROWS, REPEATS, MOST_ANSWERS = 2_000, 5, 2_000_000
LEAST_ROWS = 20
BATCH = 4_096
#: How many columns a terminal shows.
SHOWN = 10


@torch.inference_mode()
def column_importance(model: ZooModule, data: Any) -> dict[str, float]:
    """Return by how much each column's shuffling worsens the network, the most important first.

    Args:
        model: A trained network of tables.
        data: Its data.

    Returns:
        By column the rise of the log loss (nats), of a regression the fall of R2, both means over
        the shuffles; nothing for other networks, or of fewer than 20 validation rows.
    """
    if model.spec.kind != "table" or not isinstance(data, TensorDataModule):
        return {}
    rows, target = data.splits["val"]
    if len(target) < LEAST_ROWS:
        return {}
    columns = _places(model.spec.preprocessing)
    budget = MOST_ANSWERS // len(columns)
    count = min(len(target), MOST_ROWS, max(budget, 10 * LEAST_ROWS))
    repeats = max(1, min(REPEATS, budget // count))
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(target), generator=generator)[:count].sort().values
    x, y = take(rows, chosen), target[chosen]
    was_training = model.training
    model.eval()
    best = _badness(model, x, y)
    found = {}
    for name, places in columns.items():
        kept, worse = x[:, places].clone(), 0.0
        for _ in range(repeats):
            x[:, places] = kept[torch.randperm(count, generator=generator)]
            worse += _badness(model, x, y) - best
        x[:, places] = kept
        found[name] = round(worse / repeats, 5)
    model.train(was_training)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _places(preprocessing: dict[str, Any]) -> dict[str, list[int]]:
    """Return where the numbers of each column stand in a row."""
    names = [e["name"] for e in preprocessing["numeric"] + preprocessing["categorical"]]
    places: dict[str, list[int]] = {}
    for column in preprocessing["columns"]:
        parts = [f"{column['name']}.{part}" for part in column.get("parts", ())]
        of_it = set(parts) if column["kind"] == "date" else {column["name"]}
        if found := [i for i, name in enumerate(names) if name in of_it]:
            places[column["name"]] = found
    return places


def _badness(model: ZooModule, x: Tensor, y: Tensor) -> float:
    """Return the log loss, or of a regression 1 - R2, the mean over its targets."""
    parts = [model(part.to(model.device)).float().cpu() for part in x.split(BATCH)]
    outputs = torch.cat(parts).double()
    if model.spec.task != "regression":
        return nll(model.calibrated(outputs).double(), y.long())
    true = y.reshape(outputs.shape).double()
    spread = (true - true.mean(0)).pow(2).sum(0).clamp(min=1e-30)
    return float(((true - outputs).pow(2).sum(0) / spread).mean())


def what_it_is(task: str) -> str:
    """Say in words what the numbers are."""
    fall = "R2 falls" if task == "regression" else "log loss rises"
    return f"by how much the validation {fall} when the column is shuffled"
