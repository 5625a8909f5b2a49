"""What networks of a cross-validation predict for the examples that they were not trained on."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from datamodules.base import TensorDataModule
from datamodules.files import atomic_write
from zoo.running.run import Run


def write_predictions(run: Run, trainer: Any, fold: int, path: Path) -> None:
    """Write the predictions for a run's test split, with the numbers of their rows.

    A row's number is that among the examples with a target, or among the files of pictures, from 0.
    """
    data, model = cast(TensorDataModule, run.datamodule), run.model
    parts = trainer.predict(model, dataloaders=data.test_dataloader())
    answers = [answer for part in parts for answer in part["prediction"]]
    _, target = data.splits["test"]
    names = model.class_names
    if names:
        true = [[names[int(t)]] for t in target]
        probabilities = torch.cat([part["probabilities"] for part in parts]).tolist()
        header = ["target", "prediction", *(f"probability_{name}" for name in names)]
        rows = [[*t, a, *p] for t, a, p in zip(true, answers, probabilities, strict=True)]
    else:
        outputs = [f"_{i}" for i in range(model.num_outputs)] if model.num_outputs > 1 else [""]
        header = [f"{what}{i}" for what in ("target", "prediction") for i in outputs]
        pairs = zip(target.reshape(len(target), -1).tolist(), answers, strict=True)
        rows = [[*t, *a.reshape(-1).tolist()] for t, a in pairs]
    numbers = [int(number) for number in data.rows["test"]]
    if files := getattr(data, "files", {}):
        header = ["file", *header]
        rows = [[file, *row] for file, row in zip(files["test"], rows, strict=True)]
    with atomic_write(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "fold", *header])
        writer.writerows([n, fold, *row] for n, row in zip(numbers, rows, strict=True))


def join_predictions(files: Sequence[Path], path: Path) -> Path:
    """Write the predictions of all folds into one file, in the order of the rows."""
    rows: list[list[str]] = []
    for file in files:
        with file.open(encoding="utf-8", newline="") as opened:
            header, *found = csv.reader(opened)
        rows += found
    rows.sort(key=lambda row: int(row[0]))
    with atomic_write(path, "w", encoding="utf-8", newline="") as joined:
        writer = csv.writer(joined)
        writer.writerow(header)
        writer.writerows(rows)
    return path
