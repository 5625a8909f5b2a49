"""ZooModule under a Trainer: what it logs, what it freezes, how it goes on from a checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torchmetrics.functional import (
    accuracy,
    auroc,
    average_precision,
    f1_score,
    mean_squared_error,
    r2_score,
)
from toy import ONE_CYCLE, Numbers, network, trainer, weights

from datamodules import LogicGate, TensorDataModule
from zoo import ZooModule
from zoo.architectures import FeedForward
from zoo.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")


# Head


def test_features_and_head_make_the_logits() -> None:
    model = network(Numbers()).eval()
    x = torch.randn(7, 5)
    features = model.forward_features(x)
    assert features.shape == (7, 8)
    assert torch.equal(model.forward_head(features), model(x))
    assert isinstance(model.get_head(), nn.Linear)
    assert torch.equal(model.get_head()(features), model(x))


def test_a_new_head_leaves_the_backbone_and_says_what_it_is_for() -> None:
    model = network(Numbers()).eval()
    before, x = model.forward_features(torch.ones(2, 5)), torch.ones(2, 5)
    model.reset_head(4, ["w", "x", "y", "z"])
    assert model(x).shape == (2, 4)
    assert torch.equal(model.forward_features(x), before)
    assert model.class_names == ["w", "x", "y", "z"]
    assert (model.spec.num_outputs, model.spec.class_names[0]) == (4, "w")
    # Equal counts mean nothing: it is new also for as many classes as before.
    old = model.head.weight.clone()
    model.reset_head(4)
    assert not torch.equal(model.head.weight, old)
    assert model.class_names == ["0", "1", "2", "3"]


def test_a_binary_network_becomes_multiclass_by_more_classes() -> None:
    model = network(Numbers("binary"))
    assert model(torch.ones(2, 5)).shape == (2, 1)
    model.reset_head(3)
    assert model.spec.task == "multiclass"
    model.reset_head(2, task="binary")
    assert model(torch.ones(2, 5)).shape == (2, 1)
    assert model.class_names == ["0", "1"]


def test_a_head_needs_outputs_and_as_many_names() -> None:
    model = network(Numbers())
    with pytest.raises(UserError, match="at least one"):
        model.reset_head(0)
    with pytest.raises(UserError, match="3 names for 4"):
        model.reset_head(4, ["a", "b", "c"])


# Metrics


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
@pytest.mark.parametrize("batch_size", [16, 2048])
def test_evaluation_metrics_are_those_of_the_whole_split(
    tmp_path: Path, task: str, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamodules.base.EVALUATION_BATCH_SIZE", 16)  # 3 batches, the last short
    data = Numbers(task, batch_size=batch_size)
    model = network(data).eval()
    (logged,) = trainer(tmp_path).test(model, datamodule=data, verbose=False)
    x, y = data.splits["test"]
    with torch.no_grad():
        output = model(x)
    if task == "multiclass":
        expected = {
            "loss": nn.CrossEntropyLoss()(output, y),
            "accuracy": (output.argmax(1) == y).float().mean(),
            "f1": f1_score(output, y, "multiclass", num_classes=3, average="macro"),
            "auroc": auroc(output, y, "multiclass", num_classes=3),
        }
    elif task == "binary":
        expected = {
            "loss": nn.BCEWithLogitsLoss()(output[:, 0], y),
            "accuracy": accuracy(output[:, 0].sigmoid(), y.long(), "binary"),
            "f1": f1_score(output[:, 0].sigmoid(), y.long(), "binary"),
            "auroc": auroc(output[:, 0].sigmoid(), y.long(), "binary"),
            "average_precision": average_precision(output[:, 0].sigmoid(), y.long(), "binary"),
        }
    else:
        scale = torch.tensor([2.0, 5.0])
        expected = {
            "loss": nn.MSELoss()(output / scale, y / scale),
            "mae": (output - y).abs().mean(),
            "rmse": mean_squared_error(output.flatten(), y.flatten(), squared=False),
            "r2": r2_score(output, y),
        }
    assert logged == {f"{name}/test": pytest.approx(v.item()) for name, v in expected.items()}


def test_train_metrics_are_the_exact_means_of_the_epoch(tmp_path: Path) -> None:
    data = Numbers(batch_size=24)  # 24, 24, 16: batches of unequal size
    model = network(data, optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 0.0}})
    fit = trainer(tmp_path, epochs=1)
    fit.fit(model, datamodule=data)
    x, y = data.splits["train"]
    output = model(x)
    metrics = fit.callback_metrics
    assert metrics["loss/train"] == pytest.approx(nn.CrossEntropyLoss()(output, y).item())
    assert metrics["accuracy/train"] == (output.argmax(1) == y).float().mean()


def test_train_metrics_count_exactly_in_bfloat16(tmp_path: Path) -> None:
    data = Numbers(batch_size=700, repeats=20)  # bfloat16 has no number between 256 and 258
    model = network(data, optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 0.0}})
    fit = trainer(tmp_path, epochs=1, precision="bf16-true")
    fit.fit(model, datamodule=data)
    x, y = data.splits["train"]
    expected = (model(x).argmax(1) == y).float().mean()
    assert fit.callback_metrics["accuracy/train"].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
def test_it_learns(tmp_path: Path, task: str) -> None:
    data = Numbers(task)
    model, fit = network(data), trainer(tmp_path, epochs=40)
    fit.fit(model, datamodule=data)
    (logged,) = fit.test(model, datamodule=data, verbose=False)
    if task == "regression":
        assert logged["r2/test"] > 0.9
    else:
        # Chance is 1/3 and 1/2.
        assert logged["accuracy/test"] > 0.8


def test_penalties_are_norms_of_all_weights() -> None:
    model = network(Numbers(), l1_penalty=0.5, l2_penalty=2.0)
    all_weights = torch.cat([p.flatten() for n, p in model.named_parameters() if "weight" in n])
    expected = 0.5 * all_weights.abs().sum() + 2 * all_weights.norm()
    torch.testing.assert_close(model.penalty(), expected)


# Prediction


def test_predicts_class_names_and_probabilities(tmp_path: Path) -> None:
    data = Numbers()
    model = network(data)
    (predicted,) = trainer(tmp_path).predict(model, datamodule=data)
    probabilities = predicted["probabilities"]
    assert probabilities.shape == (33, 3)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(33))
    assert predicted["prediction"] == ["abc"[i] for i in probabilities.argmax(1)]


def test_predicts_yes_or_no_with_two_probabilities(tmp_path: Path) -> None:
    data = Numbers("binary")
    (predicted,) = trainer(tmp_path).predict(network(data), datamodule=data)
    assert predicted["probabilities"].shape == (33, 2)
    yes = predicted["probabilities"][:, 1] > 0.5
    assert predicted["prediction"] == ["yes" if y else "no" for y in yes]


def test_predicts_values_in_the_targets_own_units(tmp_path: Path) -> None:
    data = Numbers("regression")
    model, fit = network(data), trainer(tmp_path, epochs=40)
    fit.fit(model, datamodule=data)
    (predicted,) = fit.predict(model, datamodule=data)
    x, y = data.splits["test"]
    assert predicted["prediction"].shape == (33, 2)
    assert (predicted["prediction"] - y).abs().mean() < 1  # in units of 2 and 5
    torch.testing.assert_close(predicted["prediction"], model.eval()(x))


# Checkpoints and trainer options


class Batches(Callback):
    """Keeps the inputs of the training batches of every epoch."""

    def __init__(self) -> None:
        self.of_epoch: dict[int, list[Tensor]] = {}

    def on_train_batch_start(self, trainer: Trainer, module: ZooModule, batch: Any, i: int) -> None:
        self.of_epoch.setdefault(trainer.current_epoch, []).append(batch[0])


@pytest.mark.parametrize(("part", "count"), [(1, 1), (3, 3), (0.5, 2), (1.0, 4)])
@pytest.mark.parametrize(
    "data", [Numbers(), LogicGate(repeats=16, replacement=True, batch_size=16)]
)
def test_overfitting_takes_the_same_batches_in_every_epoch(
    tmp_path: Path, data: TensorDataModule, part: int | float, count: int
) -> None:
    seen = Batches()
    fit = trainer(tmp_path, epochs=3, overfit_batches=part, callbacks=[seen])
    fit.fit(network(data), datamodule=data)
    first = data.splits["train"][0][: 16 * count]
    assert [len(batches) for batches in seen.of_epoch.values()] == [count] * 3
    for batches in seen.of_epoch.values():
        assert torch.equal(torch.cat(batches), first)
    # Another training reads all of it, in a new order.
    fit = trainer(tmp_path, epochs=1, callbacks=[seen := Batches()])
    fit.fit(network(data), datamodule=data)
    assert sum(map(len, seen.of_epoch[0])) == 64
    assert not torch.equal(torch.cat(seen.of_epoch[0])[: 16 * count], first)


@pytest.mark.parametrize("part", [0.3, 0.5])
def test_overfitting_on_a_part_validates_on_that_part(tmp_path: Path, part: float) -> None:
    data = Numbers()  # 45 examples to validate on, in one batch
    fit = trainer(tmp_path, epochs=1, overfit_batches=part)
    model = network(data)
    fit.fit(model, datamodule=data)
    x, y = (half[: int(part * 45)] for half in data.splits["val"])
    expected = (model.eval()(x).argmax(1) == y).float().mean()
    assert fit.callback_metrics["accuracy/val"] == expected


def test_a_checkpoint_opens_without_executing_anything(tmp_path: Path) -> None:
    data = Numbers("regression")
    model, fit = network(data, lr_scheduler=ONE_CYCLE), trainer(tmp_path)
    fit.fit(model, datamodule=data)
    fit.save_checkpoint(tmp_path / "net.ckpt")
    content = torch.load(tmp_path / "net.ckpt", weights_only=True)
    assert content["Numbers"]["origin"] == "real"
    again = FeedForward.load_from_checkpoint(tmp_path / "net.ckpt", weights_only=True)
    x = data.splits["test"][0]
    assert torch.equal(again.eval()(x), model.eval()(x))
    assert isinstance(again, ZooModule)


def test_trains_in_mixed_precision(tmp_path: Path) -> None:
    data = Numbers()
    model, fit = network(data, norm="batch"), trainer(tmp_path, epochs=20, precision="bf16-mixed")
    fit.fit(model, datamodule=data)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert fit.test(model, datamodule=data, verbose=False)[0]["accuracy/test"] > 0.7


def test_trains_in_double_precision(tmp_path: Path) -> None:
    data = Numbers()
    model, fit = network(data), trainer(tmp_path, precision="64-true")
    fit.fit(model, datamodule=data)
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    data = Numbers(batch_size=8)
    small, large = network(data), network(data)
    trainer(tmp_path, accumulate_grad_batches=4).fit(small, datamodule=data)
    trainer(tmp_path).fit(large, datamodule=Numbers(batch_size=32))
    torch.testing.assert_close(weights(small), weights(large))


@pytest.mark.slow
def test_a_compiled_network_trains_and_its_checkpoint_loads(tmp_path: Path) -> None:
    data = Numbers()
    model = network(data)
    compiled, fit = torch.compile(model), trainer(tmp_path, epochs=1)
    fit.fit(compiled, datamodule=data)
    fit.save_checkpoint(tmp_path / "net.ckpt")
    again = FeedForward.load_from_checkpoint(tmp_path / "net.ckpt", weights_only=True)
    assert torch.equal(weights(again), weights(model))
