"""ZooModule under a Trainer: what it logs, what it freezes, how it goes on from a checkpoint."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torchmetrics.functional import accuracy, auroc, f1_score, mean_squared_error, r2_score

from datamodules import TensorDataModule
from zoo import ZooModule
from zoo.architectures import FeedForward
from zoo.callbacks.interruption import RandomState
from zoo.errors import UserError
from zoo.registry import described_by

pytestmark = pytest.mark.filterwarnings("ignore")
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}}


class Numbers(TensorDataModule):
    """Rows of five numbers, whose class or value follows from them; 4 batches an epoch."""

    def __init__(self, task: str = "multiclass", **options: Any) -> None:
        super().__init__(**{"batch_size": 16, **options})
        self.task = task

    @property
    def class_names(self) -> list[str]:
        names = {"multiclass": ["a", "b", "c"], "binary": ["no", "yes"], "regression": []}
        return names[self.task]

    @property
    def preprocessing(self) -> dict[str, Any]:
        # A regression learns in standardised units; see `target` in ZooModule.
        target = {"mean": [3.0, -2.0], "std": [2.0, 5.0]}
        return {"kind": "none"} | ({"target": target} if self.task == "regression" else {})

    def load_splits(self) -> dict[str, tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(64 + 45 + 33, 5, generator=generator)
        target = {
            "multiclass": x[:, :3].argmax(1),
            "binary": (x[:, 0] > 0).float(),
            "regression": x[:, :2] * torch.tensor([2.0, 5.0]) + torch.tensor([3.0, -2.0]),
        }[self.task]
        sizes = [64, 45, 33]
        pairs = zip(x.split(sizes), target.split(sizes), strict=True)
        return dict(zip(("train", "val", "test"), pairs, strict=True))


def network(data: Numbers, **options: Any) -> FeedForward:
    torch.manual_seed(0)
    settings = {"hidden_dim": [8, 8], "optimizer": SGD, **described_by(data)}
    return FeedForward(**{**settings, **options})


def trainer(folder: Path, epochs: int = 2, **options: Any) -> pl.Trainer:
    settings = {
        "accelerator": "cpu",
        "max_epochs": epochs,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
    }
    return pl.Trainer(**{**settings, **options})


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


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
    assert (model.hparams["num_outputs"], model.hparams["class_names"][0]) == (4, "w")
    # Equal counts mean nothing: it is new also for as many classes as before.
    old = model.head.weight.clone()
    model.reset_head(4)
    assert not torch.equal(model.head.weight, old)
    assert model.class_names == ["0", "1", "2", "3"]


def test_a_binary_network_becomes_multiclass_by_more_classes() -> None:
    model = network(Numbers("binary"))
    assert model(torch.ones(2, 5)).shape == (2, 1)
    model.reset_head(3)
    assert model.hparams["task"] == "multiclass"
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


# Freezing


def test_only_the_head_of_a_frozen_network_learns(tmp_path: Path) -> None:
    data = Numbers()
    model = network(data, norm="batch", dropout=0.5)
    model.freeze_backbone()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer(tmp_path).fit(model, datamodule=data)
    changed = {name for name, v in model.state_dict().items() if not torch.equal(v, before[name])}
    # Running means of a frozen batch norm stay too.
    assert changed == {"head.weight", "head.bias"}


def test_the_optimizer_holds_what_learns_and_nothing_else(tmp_path: Path) -> None:
    data = Numbers()
    model, fit = network(data, freeze=["backbone"]), trainer(tmp_path, epochs=1)
    fit.fit(model, datamodule=data)
    (group,) = fit.optimizers[0].param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model.head.parameters()]


def test_frozen_norms_and_dropout_stay_in_evaluation_mode() -> None:
    model = network(Numbers(), norm="batch", dropout=0.5).freeze_backbone().train()
    x = torch.randn(8, 5)
    assert torch.equal(model(x), model(x))  # no dropout
    assert not any(m.training for m in model.backbone.modules() if isinstance(m, nn.BatchNorm1d))
    assert model.head.training
    model.unfreeze().train()
    assert not torch.equal(model(x), model(x))
    assert all(m.training for m in model.modules())


def test_freezes_by_pattern_and_names_what_a_wrong_one_could_be() -> None:
    model = network(Numbers(), norm="batch").freeze("backbone.1.*", "backbone.2.*")
    assert model.frozen == [
        "backbone.1.weight",
        "backbone.1.bias",
        "backbone.2.weight",
        "backbone.2.bias",
    ]
    assert not model.backbone[2].training
    assert model.backbone[5].training
    with pytest.raises(UserError, match=r"backbonne.*backbone\.1\.\*"):
        model.freeze("backbonne")


def test_a_network_that_is_all_frozen_is_refused(tmp_path: Path) -> None:
    data = Numbers()
    with pytest.raises(UserError, match="nothing would learn"):
        trainer(tmp_path).fit(network(data, freeze=["*"]), datamodule=data)


def test_unfreezing_needs_something_frozen() -> None:
    with pytest.raises(UserError, match="unfreeze_at_epoch"):
        network(Numbers(), unfreeze_at_epoch=2)


ONE_CYCLE = {"class_path": "zoo.optimization.OneCycle", "init_args": {}}
UNFREEZING = {
    "freeze": ["backbone.1.*"],
    "unfreeze_at_epoch": 2,
    "lr_scheduler": ONE_CYCLE,
    "norm": "batch",
    "dropout": 0.2,
}


class Rates(pl.Callback):
    """Notes the learning rates of every update."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.seen.append([group["lr"] for group in trainer.optimizers[0].param_groups])


def test_unfreezing_joins_the_schedule_where_it_is(tmp_path: Path) -> None:
    data, rates = Numbers(), Rates()
    model = network(data, **UNFREEZING, head_lr=0.3)
    first = model.backbone[1].weight.clone()
    fit = trainer(tmp_path, epochs=4, callbacks=[rates])
    fit.fit(model, datamodule=data)
    assert not torch.equal(model.backbone[1].weight, first)
    assert model.frozen == []
    # 4 updates an epoch; two groups (head, rest) before the unfreezing and one more after it.
    assert [len(r) for r in rates.seen] == [2] * 8 + [3] * 8
    for learnt in rates.seen:
        head, rest = max(learnt), min(learnt)
        assert head == pytest.approx(3 * rest)
    assert rates.seen[-1][2] == min(rates.seen[-1])


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor, dict[str, Any]]:
    """Four epochs of four updates, uninterrupted, with a checkpoint of every update and epoch."""
    folder = tmp_path_factory.mktemp("whole")
    every = {"dirpath": folder, "save_top_k": -1}
    callbacks = [
        RandomState(),
        ModelCheckpoint(**every, filename="{epoch}", save_on_train_epoch_end=True),
        ModelCheckpoint(**every, filename="{step}", every_n_train_steps=1),
    ]
    model = network(Numbers(), **UNFREEZING)
    fit = trainer(folder, epochs=4, callbacks=callbacks, enable_checkpointing=True)
    fit.fit(model, datamodule=Numbers())
    return folder, weights(model), dict(fit.callback_metrics)


@pytest.mark.parametrize(
    ("checkpoint", "updates_left"),
    [
        ("epoch=0", 12),
        ("epoch=1", 8),  # the unfreezing comes next
        ("epoch=2", 4),
        ("step=1", 15),
        ("step=7", 9),
        ("step=8", 8),  # the last update before the unfreezing
        ("step=9", 7),
        ("step=14", 2),
    ],
)
def test_a_run_that_goes_on_ends_as_if_it_had_not_been_interrupted(
    tmp_path: Path,
    whole_run: tuple[Path, Tensor, dict[str, Any]],
    checkpoint: str,
    updates_left: int,
) -> None:
    folder, expected, metrics = whole_run
    torch.rand(3)
    model, rates = network(Numbers(), **UNFREEZING), Rates()
    fit = trainer(tmp_path, epochs=4, callbacks=[RandomState(), rates])
    path = folder / f"{checkpoint}.ckpt"
    fit.fit(model, datamodule=Numbers(), ckpt_path=path, weights_only=True)
    assert len(rates.seen) == updates_left
    assert model.frozen == []
    assert torch.equal(weights(model), expected)
    # Also those of an epoch of which a part was trained before the interruption.
    assert dict(fit.callback_metrics) == metrics


# Checkpoints and trainer options


def test_a_checkpoint_opens_without_executing_anything(tmp_path: Path) -> None:
    data = Numbers("regression")
    model, fit = network(data, lr_scheduler=ONE_CYCLE), trainer(tmp_path)
    fit.fit(model, datamodule=data)
    fit.save_checkpoint(tmp_path / "net.ckpt")
    content = torch.load(tmp_path / "net.ckpt", weights_only=True)
    assert content["Numbers"]["origin"] == "generated"
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
