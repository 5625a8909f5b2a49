"""What a run ends with is measured on the weights that it keeps, on all three splits."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

import zoo
from datamodules import MNIST
from zoo import evaluation
from zoo.recipe import RECIPES

# 200 drawn digits.
FIT = (
    *("fit", "--model", "mnist_classifier", "--data.source", "synthetic", "--inspect", "none"),
    *("--data.examples_per_class", 20, "--data.batch_size", 32),
)


def only(root: Path, pattern: str) -> Path:
    (found,) = root.rglob(pattern)
    return found


def row(out: str, split: str) -> dict[str, float]:
    """Return a row of the final table as numbers by column."""
    lines = out.splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("train") and "synth" in line)
    columns = lines[place - 1].split()
    line = next(line for line in lines[place:] if line.startswith(split))
    return dict(zip(columns, map(float, line.split(")")[-1].split()), strict=True))


def measured(weights: Path, x: Tensor, y: Tensor) -> tuple[float, float]:
    model = zoo.load_weights(weights)
    with torch.no_grad():
        logits = model.logits(x)
    return float(model.loss(logits, y)), float((logits.argmax(1) == y).float().mean())


def test_all_three_splits_are_measured_on_the_epoch_that_is_named(
    run_cli: Callable[..., Any], tmp_path: Path
) -> None:
    recipe = (RECIPES / "mnist_classifier.yaml").read_text("utf-8").replace("select: last", "")
    (tmp_path / "best.yaml").write_text(recipe, "utf-8")
    fit = ["best.yaml" if word == "mnist_classifier" else word for word in FIT]
    result = run_cli(*fit, "--trainer.max_epochs", 12, "--lr", 0.02)
    assert result.status == 0, result.err
    checkpoint = torch.load(only(tmp_path, "best.ckpt"), weights_only=True)
    assert f"weights of   epoch {checkpoint['epoch'] + 1}, the best by" in result.out
    card = json.loads(only(tmp_path, "card.json").read_text("utf-8"))
    assert (card["kept_epoch"], card["epochs"]) == (checkpoint["epoch"] + 1, 12)
    data = MNIST(source="synthetic", examples_per_class=20)
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        loss, accuracy = measured(only(tmp_path, "weights.safetensors"), *data.splits[split])
        shown = row(result.out, name)
        assert shown["loss"] == pytest.approx(loss, abs=1e-4)
        assert shown["accuracy"] == pytest.approx(accuracy, abs=1e-4)
        assert card["metrics"][f"accuracy/{split}"] == pytest.approx(accuracy, abs=1e-5)
        assert shown.keys() == row(result.out, "train").keys()


def test_a_large_table_is_measured_in_part_and_says_so(
    run_cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "MOST_TRAIN_EXAMPLES", 50)
    result = run_cli(*FIT, "--trainer.max_epochs", 1)
    assert "train, 50 of 200 (synthetic)" in result.out
    x, y = MNIST(source="synthetic", examples_per_class=20).splits["train"]
    loss, _ = measured(only(tmp_path, "weights.safetensors"), x[::4], y[::4])
    assert row(result.out, "train")["loss"] == pytest.approx(loss, abs=1e-4)


def test_training_examples_are_not_drawn_as_a_validation(
    run_cli: Callable[..., Any], tmp_path: Path
) -> None:
    result = run_cli(*FIT, "--trainer.max_epochs", 2)
    events = EventAccumulator(str(only(tmp_path, "version_0"))).Reload()
    last = events.Scalars("loss/val")[-1].value
    assert last == pytest.approx(row(result.out, "validation")["loss"], abs=1e-4)
    assert last != pytest.approx(row(result.out, "train")["loss"], abs=1e-4)


def test_no_validation_is_no_reason_to_measure_no_training_examples(
    run_cli: Callable[..., Any],
) -> None:
    result = run_cli(*FIT, "--trainer.max_epochs", 2, "--trainer.limit_val_batches", 0)
    assert {"loss", "accuracy", "auroc", "f1"} == row(result.out, "train").keys()
    assert "weights of   epoch 2, the last" in result.out
    assert not re.search("^validation", result.out, re.MULTILINE)


def test_an_overfitted_batch_is_what_is_measured(run_cli: Callable[..., Any]) -> None:
    overfit = ("--trainer.overfit_batches", 1, "--data.shuffle", "false", "--lr", 0.05)
    result = run_cli(*FIT, *overfit, "--trainer.max_epochs", 40)
    assert "train, 32 of 200" in result.out
    assert row(result.out, "train")["accuracy"] == 1


def test_an_epoch_without_a_validation_shows_none(run_cli: Callable[..., Any]) -> None:
    every_second = ("--trainer.max_epochs", 4, "--trainer.check_val_every_n_epoch", 2)
    out = run_cli("fit", "--model", "xor_mlp", "--inspect", "none", *every_second).out
    lines = [line for line in out.splitlines() if line.startswith("epoch ")]
    assert ["loss/val" in line for line in lines] == [False, True, False, True]
    assert all("loss/train" in line for line in lines)
