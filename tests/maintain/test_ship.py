"""Shipping weights: the best of several seeds, and what all of them reached."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import ship
import zoo


@pytest.fixture
def train(run_cli: Callable, tmp_path: Path) -> Callable[..., str]:
    """Train a small network and return its run directory."""

    def call(seed: int, *options: str, model: str = "xor_mlp") -> str:
        argv = ("--model", model, "--seed", seed, "--trainer.max_epochs", 2, *options)
        result = run_cli("fit", *argv, "--inspect", "none")
        assert result.status == 0, result.err
        return str(max((tmp_path / "runs").glob("*/version_*"), key=lambda p: p.stat().st_mtime_ns))

    return call


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped weights of this test's own."""
    folder = tmp_path / "pretrained"
    monkeypatch.setattr(ship, "PRETRAINED", folder)
    return folder


def test_ships_the_seed_with_the_best_validation_metric(
    train: Callable[..., str], shelf: Path
) -> None:
    runs = [train(seed) for seed in range(3)]
    ship.main(runs)

    card = json.loads((shelf / "xor_mlp.json").read_text("utf-8"))
    over_seeds = card["seeds"]["accuracy/val"]
    assert len(over_seeds["values"]) == 3
    assert card["metrics"]["accuracy/val"] == max(over_seeds["values"])
    shipped = zoo.load_weights(shelf / "xor_mlp.safetensors")
    chosen = zoo.load_weights(runs[card["seed"]])
    assert all(map(bool, (shipped.head.weight == chosen.head.weight).flatten()))


@pytest.mark.parametrize("seeds", [(0, 1), (0, 1, 1)])
def test_fewer_than_three_seeds_are_not_shipped(
    train: Callable[..., str], shelf: Path, seeds: tuple[int, ...]
) -> None:
    with pytest.raises(zoo.UserError, match="3 seeds or more"):
        ship.main([train(seed) for seed in seeds])
    assert not shelf.exists()


def test_runs_of_different_recipes_are_not_one(train: Callable[..., str], shelf: Path) -> None:
    runs = [train(0), train(1), train(2, "--data.batch_size", "2")]
    with pytest.raises(zoo.UserError, match="not of one recipe"):
        ship.main(runs)
    assert not shelf.exists()


def test_weights_from_synthetic_data_are_not_shipped(
    train: Callable[..., str], shelf: Path
) -> None:
    few = ("--data.source", "synthetic", "--trainer.limit_train_batches", "1")
    runs = [train(seed, *few, model="mnist_rnn") for seed in range(3)]
    with pytest.raises(zoo.UserError, match="synthetic"):
        ship.main(runs)
    assert not shelf.exists()
