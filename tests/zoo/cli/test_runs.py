"""`models --runs`: runs side by side."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")
FIT = ("fit", "--model", "xor_mlp", "--trainer.max_epochs", 10, "--inspect", "none")


def test_it_shows_what_differs_and_what_came_of_it(run_cli: Callable[..., Any]) -> None:
    assert run_cli(*FIT, "--name", "wide", "--model.hidden_dim", 32).status == 0
    assert run_cli(*FIT, "--name", "slow", "--lr", 1e-4).status == 0
    other = ("fit", "--model", "fizzbuzz_net", "--trainer.max_epochs", 1, "--inspect", "none")
    assert run_cli(*other).status == 0
    Path("runs/xor_mlp/wide/card.json").rename("card.json")  # as if it had not finished

    xor = run_cli("models", "--runs", "runs/xor_mlp")
    header, slow, wide = xor.out.splitlines()
    assert header.split()[:3] == ["run", "model.hidden_dim", "optimizer.lr"]
    assert slow.split()[:3] == ["slow", "8", "0.0001"]
    assert wide.split()[:3] == ["wide", "32", "0.05"]
    assert "accuracy/val" in header
    assert "accuracy/test" in header
    assert wide.endswith("not finished")

    Path("card.json").rename("runs/xor_mlp/wide/card.json")
    by_loss = run_cli("models", "--runs", "runs", "--metric", "loss/val").out.splitlines()
    assert by_loss[1].startswith("xor_mlp/wide")
    assert any("FizzBuzz" in line for line in by_loss)
    assert "data.gate" not in by_loss[0]  # FizzBuzz has none: it differs from nothing


def test_mistakes(run_cli: Callable[..., Any]) -> None:
    assert run_cli(*FIT).status == 0
    wrong = run_cli("models", "--runs", "runs", "--metric", "accuracy/vla")
    assert wrong.status == 2
    assert "accuracy/val" in wrong.err
    assert "no runs below" in run_cli("models", "--runs", "nowhere").err
    assert run_cli("models", "--metric", "loss/val").status == 2
