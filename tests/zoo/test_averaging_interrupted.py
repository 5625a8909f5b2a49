"""No interruption mixes up the learned weights and their average."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from averages import Recorder, assert_equal, checkpoint, state, with_batch_norm
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from toy import Numbers, network, trainer

from datamodules.batches import TensorBatches
from zoo.architectures import FeedForward
from zoo.callbacks.averaging import ExponentialMovingAverage
from zoo.callbacks.checkpoints import KeepBest
from zoo.callbacks.interruption import KeepLast, RandomState
from zoo.fitted.interval import Interval

pytestmark = pytest.mark.filterwarnings("ignore")


class ManyBatches(Numbers):
    """Three batches of validation, so that there is a middle of it."""

    def val_dataloader(self) -> TensorBatches:
        return TensorBatches(*self.splits["val"], 16)


class Broken(Exception):
    """What a user's own code may raise."""


def run(
    folder: Path,
    *others: Callback,
    every: int | float = 2,
    go_on_from: Path | None = None,
    seed: int = 0,
) -> tuple[FeedForward, KeepBest]:
    """Train for three epochs of four updates, validating after every second one."""
    torch.manual_seed(seed)
    data = ManyBatches()
    keep_best = KeepBest(folder, filename="best", monitor="loss/val")
    model = with_batch_norm(data)
    torch.manual_seed(seed)  # what the dropout draws from
    trainer(
        folder,
        epochs=3,
        val_check_interval=every,
        enable_checkpointing=True,
        callbacks=[
            *others,
            ExponentialMovingAverage(start_after=0),
            keep_best,
            KeepLast(folder / "last.ckpt", Interval()),
            RandomState(),
        ],
    ).fit(model, datamodule=data, ckpt_path=go_on_from, weights_only=True)
    return model, keep_best


def assert_goes_on(folder: Path, every: int | float = 2) -> None:
    """See that a run which goes on ends as the uninterrupted one, in every file it leaves."""
    whole, resumed = folder / "whole", folder / "resumed"
    expected, best = run(whole, every=every)
    last = folder / "cut" / "last.ckpt"
    found, resumed_best = run(resumed, every=every, go_on_from=last, seed=1)
    assert_equal(state(found), state(expected))
    assert resumed_best.best_model_score == best.best_model_score
    for name in ("best.ckpt", "last.ckpt"):
        left, right = checkpoint(resumed / name), checkpoint(whole / name)
        assert left["global_step"] == right["global_step"]
        for key in ("state_dict", "current_model_state"):
            assert_equal(left[key], right[key])


def raising(hook: str, when: Callable[[Trainer], bool], act: Callable[[], None]) -> Callback:
    def call(trainer: Trainer, *_: Any) -> None:
        if when(trainer):
            act()

    return LambdaCallback(**{hook: call})


def broken() -> None:
    raise Broken


HOOKS = [
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
]


@pytest.mark.parametrize(("every", "step"), [(2, 2), (2, 6), (2, 8), (1.0, 8), (1.0, 12)])
@pytest.mark.parametrize("hook", HOOKS)
def test_an_exception_in_a_validation_costs_nothing(
    tmp_path: Path, hook: str, every: int | float, step: int
) -> None:
    raise_ = raising(hook, lambda t: t.global_step == step, broken)
    with pytest.raises(Broken):
        run(tmp_path / "cut", raise_, every=every)
    assert checkpoint(tmp_path / "cut" / "last.ckpt")["global_step"] == step
    assert_goes_on(tmp_path, every)


@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGINT]], ids=["SIGTERM", "two Ctrl-C"]
)
@pytest.mark.parametrize("hook", ["on_validation_batch_end", "on_before_optimizer_step"])
def test_signals_cost_nothing(tmp_path: Path, signals: list[int], hook: str) -> None:
    """Within a validation they stop it, within an update they wait for its end."""

    def press() -> None:
        for number in signals:
            os.kill(os.getpid(), number)

    with pytest.raises(SystemExit):
        run(tmp_path / "cut", raising(hook, lambda t: t.global_step == 6, press))
    assert checkpoint(tmp_path / "cut" / "last.ckpt")["global_step"] == 6 + hook.startswith(
        "on_before"
    )
    assert_goes_on(tmp_path)


@pytest.mark.parametrize(
    ("hook", "step", "kept"),
    [
        ("on_train_batch_start", 7, 7),
        ("on_before_backward", 7, 6),
        ("on_after_backward", 7, 6),
        ("on_before_optimizer_step", 7, 6),
        ("on_before_zero_grad", 7, 6),
        ("on_train_batch_end", 7, 7),
        ("on_train_batch_end", 8, 8),
        ("on_train_epoch_end", 8, 8),
        ("on_train_epoch_start", 8, 8),
    ],
)
def test_an_exception_elsewhere_saves_between_updates(
    tmp_path: Path, hook: str, step: int, kept: int
) -> None:
    """Within an update the checkpoint of before stays."""
    with pytest.raises(Broken):
        run(tmp_path / "cut", raising(hook, lambda t: t.global_step == step, broken))
    assert checkpoint(tmp_path / "cut" / "last.ckpt")["global_step"] == kept
    assert_goes_on(tmp_path)


def test_an_exception_after_the_last_update_loses_nothing(tmp_path: Path) -> None:
    with pytest.raises(Broken):
        run(tmp_path / "cut", raising("on_train_end", lambda _: True, broken))
    last = tmp_path / "cut" / "last.ckpt"
    assert checkpoint(last)["global_step"] == 12
    found, _ = run(tmp_path / "resumed", go_on_from=last)
    expected, _ = run(tmp_path / "whole")
    assert_equal(state(found), state(expected))


def test_the_checkpoint_after_the_end_has_the_weights_that_learned(tmp_path: Path) -> None:
    recorder, model = Recorder(), network(Numbers())
    fit = trainer(tmp_path, epochs=3, callbacks=[ExponentialMovingAverage(start_after=0), recorder])
    fit.fit(model, datamodule=Numbers())
    fit.save_checkpoint(tmp_path / "end.ckpt")
    saved = checkpoint(tmp_path / "end.ckpt")
    assert_equal(saved["state_dict"], state(model))
    assert_equal(saved["current_model_state"], recorder.learning[-1])


def test_a_checkpoint_of_the_end_still_ends_with_the_average(tmp_path: Path) -> None:
    expected, _ = run(tmp_path / "whole")
    found, _ = run(tmp_path / "again", go_on_from=tmp_path / "whole" / "last.ckpt")
    assert_equal(state(found), state(expected))


def test_a_checkpoint_after_the_end_goes_on_to_the_same_average(tmp_path: Path) -> None:
    def fit(go_on_from: Path | None = None) -> FeedForward:
        model = network(Numbers())
        average = ExponentialMovingAverage(start_after=0)
        trained = trainer(tmp_path, epochs=3, callbacks=[average])
        trained.fit(model, datamodule=Numbers(), ckpt_path=go_on_from, weights_only=True)
        trained.save_checkpoint(tmp_path / "end.ckpt")
        return model

    expected = state(fit())
    assert_equal(state(fit(tmp_path / "end.ckpt")), expected)
    again = checkpoint(tmp_path / "end.ckpt")
    assert_equal(again["state_dict"], expected)
    assert "current_model_state" in again
