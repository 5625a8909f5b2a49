"""A table with every kind of column, networks trained on it, and how they answer."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from toy import trainer

import zoo
from datamodules import Tabular, TensorDataModule
from zoo.architectures import FeedForward

N = 240
ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.02}}
USED = ["age", "city", "joined", "member", "fare"]


def table_of_people() -> pd.DataFrame:
    """A table with every kind of column, three classes and a number that follow from it."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "row": np.arange(N),
            "age": rng.integers(18, 80, N) * 1.5,
            "city": rng.choice(["Rome", "Oslo", "Bern", "Kyiv"], N),
            "joined": pd.date_range("2020-01-01", periods=N, freq="3D").strftime("%d.%m.%Y"),
            "member": rng.choice(["yes", "no"], N),
            "fare": np.exp(rng.normal(3, 1.5, N)).round(3),
        }
    )
    score = frame["age"] + 40 * (frame["city"] == "Rome") + 20 * (frame["member"] == "yes")
    frame["class"] = np.select([score < 70, score < 100], ["low", "mid"], "top")
    frame["left"] = np.where(score > 85, "yes", "no")
    frame["price"] = (1e5 + 1e3 * score).round()
    frame["tax"] = 10 - 0.05 * score
    frame.loc[::9, "age"] = np.nan
    frame.loc[1::11, "city"] = np.nan
    return frame


def train_on(people: pd.DataFrame, folder: Path) -> Path:
    """A folder with a trained network for each target."""
    people.to_csv(folder / "people.csv", index=False)
    for target in ("class", "left", "price", "tax", "price+tax"):
        data = Tabular(str(folder / "people.csv"), target.split("+"), columns=USED)
        torch.manual_seed(0)
        model = FeedForward(data.spec, hidden_dim=16).learn({"optimizer": ADAM})
        trainer(folder, 8).fit(model, datamodule=data)
        model.save_pretrained(folder / target)
    return folder


def write(frame: pd.DataFrame, folder: Path, **options: Any) -> str:
    frame.to_csv(folder / "second.csv", index=False, **options)
    return str(folder / "second.csv")


def answers_of(model: zoo.ZooModule, data: TensorDataModule) -> tuple[np.ndarray, torch.Tensor]:
    """Return the rows that a Trainer tests on, and the network's answers for them."""
    answers = trainer(Path()).predict(model, datamodule=data)
    key = "prediction" if model.spec.task == "regression" else "probabilities"
    return data.rows["test"], torch.cat([answer[key] for answer in answers])


def direct(model: zoo.ZooModule, frame: pd.DataFrame) -> torch.Tensor:
    """Return the network's answers for rows as a file has them, by its own preprocessing alone."""
    from datamodules.tabular.encode import encode_frame

    with torch.inference_mode():
        outputs = model(encode_frame(frame.astype(str), model.spec.preprocessing))
        predicted = model.task.predict(outputs, model.class_names)
    return predicted["prediction" if model.spec.task == "regression" else "probabilities"]
