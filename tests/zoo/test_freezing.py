"""What is frozen does not learn, joins in when its time comes, and survives a resume."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from toy import ONE_CYCLE, SGD, Numbers, network, trainer, weights

from zoo import load_weights
from zoo.callbacks.interruption import RandomState
from zoo.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")


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


def test_loaded_weights_are_trained_in_training_mode(tmp_path: Path) -> None:
    """Lightning leaves the mode as it is, and what is loaded is in evaluation mode."""
    data = Numbers()
    network(data, norm="batch", dropout=0.5).save_pretrained(tmp_path)
    model = load_weights(tmp_path).learn({"optimizer": SGD})
    assert not model.training
    running = [b.clone() for name, b in model.named_buffers() if "running_mean" in name]
    trainer(tmp_path, epochs=1).fit(model, datamodule=data)
    moved = [b for name, b in model.named_buffers() if "running_mean" in name]
    assert running
    assert not any(torch.equal(a, b) for a, b in zip(running, moved, strict=True))


def test_frozen_norms_and_dropout_stay_in_evaluation_mode() -> None:
    model = network(Numbers(), norm="batch", dropout=0.5).freeze_backbone().train()
    x = torch.randn(8, 5)
    assert torch.equal(model(x), model(x))  # no dropout
    assert not any(m.training for m in model.backbone.modules() if isinstance(m, nn.BatchNorm1d))
    assert model.head.training
    model.unfreeze().train()
    assert not torch.equal(model(x), model(x))
    assert all(m.training for m in model.modules())


def test_a_frozen_backbone_runs_without_autograd() -> None:
    model = network(Numbers(), norm="batch").freeze_backbone().train()
    features = model.forward_features(torch.randn(8, 5))
    assert features.grad_fn is None
    assert model.forward_head(features).grad_fn is not None


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
