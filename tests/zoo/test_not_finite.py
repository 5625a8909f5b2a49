"""A training whose numbers are none any more stops, and says where that began."""

import gc
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor
from toy import Numbers, network, trainer

import zoo
from zoo.architectures import FeedForward
from zoo.callbacks.finite import StopWhenNotFinite
from zoo.cards import read_card
from zoo.errors import NotFiniteError
from zoo.weights import save_weights

pytestmark = pytest.mark.filterwarnings("ignore")


def fit(folder: Path, model: FeedForward, *others: Callback, **options: Any) -> None:
    trainer(folder, callbacks=[*others, StopWhenNotFinite()], **options).fit(
        model, datamodule=Numbers()
    )


class Poison(Callback):
    """Makes weights of the first layer so large before an update that its outputs overflow."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, pl_module: FeedForward, *_: Any) -> None:
        if trainer.global_step == self.step - 1:
            pl_module.backbone[1].weight.data.fill_(3e38)


def test_step_layer_and_learning_rate_are_named(tmp_path: Path) -> None:
    model = network(Numbers())
    with pytest.raises(NotFiniteError, match=r"step 6: .*'backbone.1' \(Linear\).* was 0\.1\."):
        fit(tmp_path, model, Poison(step=6), epochs=3)
    # The update did not come: what was good before the step still is.
    assert all(p.isfinite().all() for p in model.parameters())


class BrokenGradient(FeedForward):
    """Its loss is a number, and the slope of a root at 0 is none."""

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return super().loss(logits, target) + (0 * logits).sqrt().sum()


@pytest.mark.parametrize("limits", [{}, {"max_steps": 1}, {"max_steps": 1, "limit_val_batches": 0}])
def test_a_gradient_is_found_too(tmp_path: Path, limits: dict[str, int]) -> None:
    model = BrokenGradient(**network(Numbers()).hparams)
    with pytest.raises(NotFiniteError, match=r"step 1: .*the weights of 'backbone"):
        fit(tmp_path, model, epochs=2, **limits)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_finite_training_is_left_alone(tmp_path: Path, accumulate: int) -> None:
    fit(tmp_path, network(Numbers()), epochs=3, accumulate_grad_batches=accumulate)


@pytest.mark.parametrize("epochs", [1, 3])
def test_losses_that_are_looked_at_later_name_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    """As on a GPU, which is not waited for in every step."""
    start = StopWhenNotFinite.on_train_start

    def later(self: StopWhenNotFinite, *args: Any) -> None:
        start(self, *args)
        self._at_once = False

    monkeypatch.setattr(StopWhenNotFinite, "on_train_start", later)
    with pytest.raises(NotFiniteError, match="step 3: the loss is "):
        fit(tmp_path, network(Numbers()), Poison(step=3), epochs=epochs, log_every_n_steps=50)


# The command


def test_the_command_fails_and_keeps_the_last_good_checkpoint(
    run_cli: Callable[..., Any], tmp_path: Path
) -> None:
    options = ("--model", "mnist_classifier.tuned", "--data.source", "synthetic")
    few = ("--trainer.limit_train_batches", 4, "--trainer.max_epochs", 3, "--inspect", "none")
    poison = tmp_path / "poison.py"
    poison.write_text(
        "from lightning.pytorch import Callback\n"
        "class Poison(Callback):\n"
        "    def on_train_batch_start(self, trainer, model, *_):\n"
        "        if trainer.global_step == 6:\n"
        "            next(model.backbone.parameters()).data.fill_(3e38)\n"
    )
    result = run_cli("fit", *options, *few, "--trainer.callbacks+=poison.Poison")
    assert result.status == 1
    assert "Traceback" not in result.err
    assert "step 7" in result.err
    (last,) = tmp_path.rglob("last.ckpt")
    assert f"of step 4, is kept: {last.relative_to(tmp_path)}" in result.err
    kept = torch.load(last, weights_only=True)
    assert all(value.isfinite().all() for value in kept["state_dict"].values())
    assert not list(tmp_path.rglob("weights.safetensors"))
    assert not list(tmp_path.rglob("card.json"))


def test_a_training_that_fails_closes_its_event_file(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        with pytest.raises(NotFiniteError):
            zoo.fit(
                "mnist_net",
                lr=1e6,
                max_epochs=1,
                default_root_dir=tmp_path,
                settings={"data.source": "synthetic", "trainer.limit_train_batches": 20},
            )
        gc.collect()
    assert list(tmp_path.rglob("events.out.tfevents.*"))
    assert not [w for w in caught if w.category is ResourceWarning]


def test_a_learning_rate_far_too_high_is_no_success(
    run_cli: Callable[..., Any], tmp_path: Path
) -> None:
    result = run_cli(
        *("fit", "--model", "mnist_net", "--lr", 1e6, "--data.source", "synthetic"),
        *("--trainer.max_epochs", 1, "--inspect", "none"),
    )
    assert result.status == 1
    assert "The learning rate was 1e+06" in result.err
    assert not list(tmp_path.rglob("card.json"))


def test_a_card_is_json_whatever_was_measured(tmp_path: Path) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    metrics = {"loss/test": float("inf"), "r2/test": float("nan"), "mae/test": 1.5}
    recipe = {"trainer": {"gradient_clip_val": float("inf"), "limits": [float("-inf")]}}
    card = save_weights(
        network(Numbers()), tmp_path / "weights.safetensors", metrics=metrics, recipe=recipe
    )
    text = (tmp_path / "card.json").read_text("utf-8")
    assert json.loads(text, parse_constant=refuse)["recipe"]["trainer"]["limits"] == ["-.inf"]
    read = read_card(tmp_path / "card.json")
    assert str(read.metrics) == str(card.metrics)  # a NaN is not equal to itself
