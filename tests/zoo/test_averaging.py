"""The average of the weights follows the updates."""

from pathlib import Path
from typing import Any

import pytest
import torch
from averages import Recorder, assert_equal, checkpoint, state, with_batch_norm
from torch import Tensor
from toy import Numbers, network, trainer

from zoo.callbacks.averaging import ExponentialMovingAverage
from zoo.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")


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
