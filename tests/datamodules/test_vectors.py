"""Gaussian blobs, and numbers written out."""

import pytest
import torch

from datamodules import GaussianBlobs, InlineData, UserError


@pytest.mark.parametrize(
    ("task", "num_outputs", "classes"),
    [("binary", 1, 2), ("multiclass", 5, 5), ("regression", 3, 0)],
)
def test_what_a_network_must_know(task: str, num_outputs: int, classes: int) -> None:
    data = GaussianBlobs(num_features=6, task=task, num_outputs=num_outputs, num_examples=50)
    assert data.input_shape == (6,)
    assert (data.task, data.num_outputs, data.num_classes) == (task, num_outputs, classes)
    assert [len(x) for x, _ in data.splits.values()] == [50, 1000, 1000]
    x, y = data.splits["train"]
    assert x.dtype == torch.float32
    expected = {"binary": (50,), "multiclass": (50,), "regression": (50, 3)}[task]
    assert y.shape == expected
    assert y.dtype == (torch.int64 if task == "multiclass" else torch.float32)
    if task != "regression":
        assert set(data.splits["val"][1].tolist()) == set(range(classes))


def test_the_formula_follows_the_seed() -> None:
    first, again, other = (GaussianBlobs(seed=seed).splits["train"] for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_train_and_test_follow_one_formula() -> None:
    """The nearest class mean of the training examples is right on new ones: nine in ten."""
    data = GaussianBlobs(num_features=10, num_outputs=3)
    x, y = data.splits["train"]
    means = torch.stack([x[y == label].mean(dim=0) for label in range(3)])
    new_x, new_y = data.splits["test"]
    assert (torch.cdist(new_x, means).argmin(dim=1) == new_y).float().mean() > 0.9


@pytest.mark.parametrize("option", ["num_features", "num_outputs", "num_examples", "batch_size"])
def test_sizes_below_one_are_refused(option: str) -> None:
    with pytest.raises(UserError, match=f"--data.{option} must be at least 1, not 0"):
        GaussianBlobs(**{option: 0})


def test_one_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"--data\.num_outputs 2 or more"):
        GaussianBlobs(task="multiclass", num_outputs=1)


def test_values_as_written() -> None:
    data = InlineData(inputs=[[0.8, 0.4], [1, 2]], targets=[[1, 0, 3], [4, 5, 6]])
    assert (data.input_shape, data.task, data.num_outputs) == ((2,), "regression", 3)
    for x, y in data.splits.values():
        assert torch.equal(x, torch.tensor([[0.8, 0.4], [1.0, 2.0]]))
        assert torch.equal(y, torch.tensor([[1.0, 0.0, 3.0], [4.0, 5.0, 6.0]]))


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        ([], [], "they have 0 and 0"),
        ([[1.0]], [[1.0], [2.0]], "they have 1 and 2"),
        ([[1.0], [1.0, 2.0]], [[1.0], [2.0]], "--data.inputs differ in length"),
        ([[1.0], [2.0]], [[1.0], [1.0, 2.0]], "--data.targets differ in length"),
        ([[]], [[1.0]], "no numbers"),
    ],
)
def test_values_that_make_no_table_are_refused(
    inputs: list[list[float]], targets: list[list[float]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        InlineData(inputs=inputs, targets=targets)


def test_the_examples_do_not_follow_the_weights_that_the_same_seed_draws() -> None:
    data = GaussianBlobs(num_features=100, num_outputs=10, num_examples=5_000, seed=0)
    x, target = data.splits["train"]
    centres = torch.stack([x[target == c].mean(0) for c in range(10)])
    torch.manual_seed(0)  # as `--seed 0` does before the network is made
    weights = torch.nn.Linear(100, 10).weight.detach()
    correlation = torch.corrcoef(torch.stack([centres.flatten(), weights.flatten()]))[0, 1]
    # 1,000 independent pairs: 0 with a standard deviation of 0.03.
    assert correlation.abs() < 0.15
