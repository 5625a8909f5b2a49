"""`fit --overfit` and `fit --lr_find`: what one does before a long training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import zoo
from datamodules.memory import InMemory
from zoo.module import ZooModule
from zoo.running.fitting import prepare
from zoo.running.overfitting import Verdict, check_overfitting
from zoo.running.training import Training

pytestmark = pytest.mark.filterwarnings("ignore")
IMAGES = ("--model", "fashion_ffnn", "--data.source", "synthetic", "--inspect", "none")
SHORT = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 20)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def pairs(contradicting: bool = False, task: str = "multiclass") -> InMemory:
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(100, 8, generator=draw), torch.randint(0, 3, (100,), generator=draw)
    if contradicting:
        x[:] = x[torch.arange(100) % 20]
    return InMemory(x, y.float() / 3 if task == "regression" else y, batch_size=32)


def leave(model: ZooModule) -> None:
    """Plant no fault."""


def check(data: Any, fault: Callable[[ZooModule], None] = leave, **options: Any) -> Verdict:
    settings = {"trainer.fast_dev_run": True}
    training = Training(*prepare(settings, model="fnn", data=data, inspect="none", **options))
    fault(training.model)
    before = {name: value.clone() for name, value in training.model.state_dict().items()}
    verdict = check_overfitting(training)
    after = training.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    return verdict


def freeze(model: ZooModule) -> None:
    model.requires_grad_(False)


def kill_units(model: ZooModule) -> None:
    first = next(m for m in model.modules() if isinstance(m, nn.Linear))
    nn.init.constant_(first.bias, -1000.0)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_sound_network_learns_a_batch_by_heart(task: str) -> None:
    verdict = check(pairs(task=task), optimizer="Adam", lr=1e-2)
    assert verdict.passed
    assert verdict.last < 0.05
    assert verdict.accuracy in (1.0, None)


@pytest.mark.parametrize(
    ("data", "fault", "lr", "reason"),
    [
        (pairs(), freeze, 1e-2, "everything is frozen"),
        (pairs(), kill_units, 1e-2, "dead units: 100 %"),
        (pairs(), leave, 30.0, "the learning rate is far too high"),
        (pairs(contradicting=True), leave, 1e-2, "labels contradict each other"),
        (pairs(), leave, 1e-7, "the learning rate is far too low"),
    ],
)
def test_a_planted_fault_is_named(data: Any, fault: Any, lr: float, reason: str) -> None:
    verdict = check(data, fault, optimizer="Adam", lr=lr)
    assert not verdict.passed
    assert reason in verdict.reason


def test_the_command_ends_with_a_verdict(run_cli: Callable[..., Any]) -> None:
    fine = run_cli("fit", *IMAGES, "--overfit", 1)
    assert fine.status == 0, fine.err
    assert "--overfit: passed. 64 examples" in fine.out
    assert "warning: " not in fine.err
    everything = ("--freeze", "backbone", "--freeze", "head.*")
    frozen = run_cli("fit", *IMAGES, "--overfit", 1, *everything)
    assert frozen.status == 1
    assert "everything is frozen" in frozen.out
    assert not Path("runs").exists()
    assert run_cli("fit", *IMAGES, "--overfit", 0).status == 2


def test_lr_find_leaves_the_run_as_it_would_have_been(run_cli: Callable[..., Any]) -> None:
    plain = run_cli("fit", *IMAGES, *SHORT)
    found = run_cli("fit", *IMAGES, *SHORT, "--lr_find")
    assert (plain.status, found.status) == (0, 0), found.err
    folders = [Path("runs/fashion_ffnn-synthetic") / f"version_{i}" for i in (0, 1)]
    expected, weights = (load_file(folder / "weights.safetensors") for folder in folders)
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert (folders[1] / "lr_find.png").stat().st_size > 1000
    assert any(b"lr_find" in file.read_bytes() for file in folders[1].glob("events.*"))
    rate = float(found.out.partition("fastest at a rate of ")[2].partition(":")[0])
    assert 1e-3 < rate < 2  # SGD with momentum; the document has 0.1


def test_a_run_has_a_name(run_cli: Callable[..., Any]) -> None:
    named = ("fit", "--model", "xor_mlp", "--trainer.max_epochs", 1, "--name", "wide")
    assert run_cli(*named).status == 0
    assert Path("runs/xor_mlp/wide/card.json").is_file()
    again = run_cli(*named)
    assert again.status == 2
    assert "runs/xor_mlp/wide" in again.err
    assert run_cli(*named[:-1], "../wide").status == 2
    assert zoo.load_weights("runs/xor_mlp/wide") is not None
