"""The average of the weights follows the updates, and no interruption mixes it up with them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from torch import Tensor, nn
from toy import ONE_CYCLE, Numbers, network, trainer

from datamodules.batches import TensorBatches
from zoo.architectures import FeedForward
from zoo.callbacks.averaging import ExponentialMovingAverage
from zoo.callbacks.checkpoints import KeepBest
from zoo.callbacks.interruption import KeepLast, RandomState
from zoo.errors import UserError
from zoo.interval import Interval

pytestmark = pytest.mark.filterwarnings("ignore")


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def with_batch_norm(data: Numbers, **options: Any) -> FeedForward:
    """A network with the things that an average must get right: buffers, dropout, a schedule."""
    return network(data, norm="batch", dropout=0.2, lr_scheduler=ONE_CYCLE, **options)


class Recorder(Callback):
    """Keeps the weights after every update, and those that are validated."""

    def __init__(self) -> None:
        self.learning: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []
        self.step = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step > self.step:
            self.step = trainer.global_step
            self.learning.append(state(pl_module))

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any
    ) -> None:
        self.validated.append(state(pl_module))


def expected_average(
    learning: list[dict[str, Tensor]], decay: float = 0.999, start_after: int = 0
) -> dict[str, Tensor]:
    average = {name: value.double() for name, value in learning[start_after].items()}
    for n, weights in enumerate(learning[start_after + 1 :], start=1):
        kept = min(decay, n / (9 + n))
        for name, value in weights.items():
            moved = kept * average[name] + (1 - kept) * value.double()
            average[name] = moved if value.is_floating_point() else value.double()
    return average


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(
    ("decay", "start_after"), [(0.999, 0), (0.5, 0), (0.999, 7), (0.8, 5), (0.8, None)]
)
def test_the_average_follows_the_updates(
    tmp_path: Path, accumulate: int, decay: float, start_after: int | None
) -> None:
    recorder = Recorder()
    model = with_batch_norm(Numbers())
    trainer(
        tmp_path,
        epochs=6,
        accumulate_grad_batches=accumulate,
        callbacks=[ExponentialMovingAverage(decay, start_after), recorder],
    ).fit(model, datamodule=Numbers())
    assert len(recorder.learning) == 6 * -(-4 // accumulate)
    after = 5 if start_after is None else start_after  # 1 / (1 - 0.8)
    assert_close(state(model), expected_average(recorder.learning, decay, after))
    assert_equal(recorder.validated[-1], state(model))


def test_nothing_of_an_untrained_network_is_left_after_one_update(tmp_path: Path) -> None:
    recorder, model = Recorder(), network(Numbers())
    trainer(
        tmp_path,
        epochs=1,
        max_steps=1,
        callbacks=[ExponentialMovingAverage(start_after=0), recorder],
    ).fit(model, datamodule=Numbers())
    assert_equal(state(model), recorder.learning[0])


def test_an_average_that_has_not_begun_is_not_validated(tmp_path: Path) -> None:
    recorder, model = Recorder(), network(Numbers())
    before = state(model)
    trainer(
        tmp_path,
        epochs=1,
        num_sanity_val_steps=1,  # before any update
        callbacks=[ExponentialMovingAverage(start_after=0), recorder],
    ).fit(model, datamodule=Numbers())
    assert_equal(recorder.validated[0], before)
    assert_equal(recorder.validated[-1], state(model))


def test_frozen_weights_stay_to_the_last_bit_and_follow_when_they_learn(tmp_path: Path) -> None:
    data, recorder = Numbers(), Recorder()
    model = network(data, freeze=["backbone"], unfreeze_at_epoch=2)
    before = state(model)
    trainer(tmp_path, epochs=4, callbacks=[ExponentialMovingAverage(start_after=0), recorder]).fit(
        model, datamodule=data
    )
    frozen = [name for name in before if name.startswith("backbone")]
    assert all(torch.equal(recorder.validated[1][name], before[name]) for name in frozen)
    assert not any(torch.equal(state(model)[name], before[name]) for name in frozen)
    assert_close(state(model), expected_average(recorder.learning))


def test_half_precision_is_averaged_in_single(tmp_path: Path) -> None:
    """bfloat16 has three digits: a thousandth of an update would be rounded away."""
    recorder = Recorder()
    fit = trainer(
        tmp_path,
        epochs=4,
        precision="bf16-true",
        callbacks=[ExponentialMovingAverage(start_after=0), recorder],
    )
    fit.fit(network(Numbers()), datamodule=Numbers())
    fit.save_checkpoint(tmp_path / "end.ckpt")
    average = checkpoint(tmp_path / "end.ckpt")["state_dict"]
    assert_close(average, expected_average(recorder.learning))


def test_a_mask_of_infinities_stays_one(tmp_path: Path) -> None:
    model = network(Numbers())
    model.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
    trainer(tmp_path, epochs=2, callbacks=[ExponentialMovingAverage(start_after=0)]).fit(
        model, datamodule=Numbers()
    )
    assert model.mask.tolist() == [0.0, float("-inf")]


def test_a_short_training_ends_with_the_weights_that_it_learned(tmp_path: Path) -> None:
    recorder, model = Recorder(), with_batch_norm(Numbers())
    trainer(tmp_path, epochs=20, callbacks=[ExponentialMovingAverage(), recorder]).fit(
        model, datamodule=Numbers()
    )
    assert_equal(state(model), recorder.learning[-1])


@pytest.mark.parametrize("options", [{"decay": 1.0}, {"decay": -0.1}, {"start_after": -1}])
def test_what_is_no_average_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="average"):
        ExponentialMovingAverage(**options)


# Interruptions


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


def checkpoint(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


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
