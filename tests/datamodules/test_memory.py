"""Arrays, tensors and other libraries' columns as data: what they are taken for."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

import zoo
from datamodules import UserError
from datamodules.memory import InMemory, spec_of
from zoo.preprocessing.in_memory import as_batch

X = np.random.default_rng(0).normal(size=(60, 4)).astype("f")
PICTURES = np.random.default_rng(0).integers(0, 256, (60, 12, 10, 3), dtype="uint8")


@pytest.mark.parametrize(
    ("y", "task", "names"),
    [
        (X[:, 0] > 0, "binary", ["0", "1"]),
        (np.arange(60) % 2, "binary", ["0", "1"]),
        (np.arange(60) % 3, "multiclass", ["0", "1", "2"]),
        (1 + np.arange(60) % 3, "multiclass", ["1", "2", "3"]),
        (np.where(X[:, 0] > 0, 1, -1), "binary", ["-1", "1"]),
        (np.where(X[:, 0] > 0, 5, 2), "binary", ["2", "5"]),
        (np.where(X[:, 0] > 0, "yes", "no"), "binary", ["no", "yes"]),
        (np.array(["a", "b", "c"] * 20, dtype=object), "multiclass", ["a", "b", "c"]),
        (pd.Series(["a", "b"] * 30, index=range(100, 160)), "binary", ["a", "b"]),
        (pd.Series(["a", "b", "c"] * 20, dtype="category"), "multiclass", ["a", "b", "c"]),
        (X[:, 0], "regression", []),
        (pd.Series(X[:, 0]), "regression", []),
        (X[:, :2].astype("float64"), "regression", []),
    ],
    ids=str,
)
def test_what_targets_are_taken_for(
    y: Any, task: str, names: list[str], request: pytest.FixtureRequest
) -> None:
    data = InMemory(X, y)
    assert (data.task, data.class_names) == (task, names)
    assert data.splits["train"][1].dtype == (torch.int64 if task == "multiclass" else torch.float32)


def test_given_names_are_those_of_indices() -> None:
    data = InMemory(X, np.where(X[:, 0] > 0, 2, 0), class_names=["cat", "dog", "cow"])
    assert data.class_names == ["cat", "dog", "cow"]
    assert set(data.splits["train"][1].tolist()) == {0, 2}


@pytest.mark.parametrize(
    "x",
    [pd.DataFrame(X), pd.DataFrame(X, columns=list("abcd")), X.tolist(), X.astype("float64")],
    ids=["frame", "named", "lists", "double"],
)
def test_inputs_of_other_libraries_are_the_same_numbers(x: Any) -> None:
    first = InMemory(x, X[:, 0]).splits["train"][0]
    assert torch.equal(first, InMemory(X, X[:, 0]).splits["train"][0])


@pytest.mark.parametrize("kind", ["bytes", "floats"])
def test_channels_may_stand_last(kind: str) -> None:
    x = PICTURES if kind == "bytes" else PICTURES.astype("f") / 255
    data = InMemory(x, np.arange(60) % 3)
    assert data.input_shape == (3, 12, 10)
    assert torch.equal(as_batch(x[:2], data.spec), as_batch(x[:2].transpose(0, 3, 1, 2), data.spec))
    assert torch.equal(data.x[0, 0], torch.as_tensor(x[0, :, :, 0]))


def test_grey_pictures_need_no_channel() -> None:
    data = InMemory(PICTURES[..., 0], np.arange(60) % 3)
    assert data.input_shape == (1, 12, 10)
    assert as_batch(PICTURES[:2, ..., 0], data.spec).shape == (2, 1, 12, 10)


def test_a_sequence_of_floats_is_no_picture() -> None:
    assert InMemory(np.zeros((60, 7, 3), "f"), np.arange(60) % 2).input_shape == (7, 3)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.where(X > 2, np.nan, X), X[:, 0], "The inputs of"),
        (X, np.where(X[:, 0] > 1, np.inf, X[:, 0]), "The targets of"),
        (X, np.zeros(60, int), "All targets are 0"),
        (X, ["a"] * 60, "All targets are a"),
        (X, X[:10, 0], "60 inputs, but 10 targets"),
        ([["a"]] * 60, X[:, 0], "The inputs are no numbers"),
    ],
    ids=["nan", "inf", "zeros", "names", "lengths", "words"],
)
def test_what_cannot_be_learnt_from_gets_a_sentence(x: Any, y: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        InMemory(x, y)


def test_columns_of_pandas_train_and_predict() -> None:
    frame = pd.DataFrame(X, columns=list("abcd"), index=range(7, 67))
    names = pd.Series(np.where(X[:, 0] > 0, "yes", "no"), index=frame.index)
    run = zoo.fit("fnn", (frame, names), max_epochs=1, inspect="none")
    assert set(run.model.predict(X)["prediction"]) <= {"yes", "no"}


# Datamodules that are none of ours


class Foreign(LightningDataModule):
    """Hands out these targets, and so many validation loaders."""

    def __init__(self, y: torch.Tensor, validations: int = 1) -> None:
        super().__init__()
        self.examples, self.validations = TensorDataset(torch.tensor(X), y), validations

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.examples, 20)

    def val_dataloader(self) -> Any:
        loaders = [self.train_dataloader() for _ in range(self.validations)]
        return loaders if self.validations > 1 else loaders[0]


POSITIVE = torch.tensor(X[:, 0] > 0)


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (POSITIVE, "binary"),
        (POSITIVE.float(), "binary"),
        (POSITIVE.float()[:, None], "binary"),
        (POSITIVE.long(), "multiclass"),
        (torch.tensor(X[:, 0]), "regression"),
        (torch.tensor(X[:, :2]).double(), "regression"),
    ],
    ids=["bool", "float", "column", "indices", "numbers", "double"],
)
def test_a_foreign_datamodules_task_is_found_out_and_trains(y: torch.Tensor, task: str) -> None:
    assert spec_of(Foreign(y)).task == task
    run = zoo.fit("fnn", Foreign(y), max_epochs=1, inspect="none", settings={"learning.loss": None})
    metric = "r2/val" if task == "regression" else "accuracy/val"
    assert metric in run.metrics


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (Foreign(POSITIVE.long()[:, None]), r"whole numbers in the shape \(20, 1\)"),
        (Foreign(torch.eye(2)[POSITIVE.long()].long()), r"whole numbers in the shape \(20, 2\)"),
        (Foreign(POSITIVE.long(), validations=2), "Foreign has 2 loaders for validation"),
    ],
    ids=["column", "one hot", "loaders"],
)
def test_what_a_foreign_datamodule_cannot_be_gets_a_sentence(data: Foreign, says: str) -> None:
    with pytest.raises(UserError, match=says):
        zoo.fit("fnn", data, max_epochs=1, inspect="none")
