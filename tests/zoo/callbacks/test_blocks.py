"""Batches learned round Lightning: the same weights, curves and checkpoints, bit for bit."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from recorded import Run as Recorded
from torch import Tensor, nn

import zoo
from zoo.callbacks.blocks import Learner
from zoo.callbacks.checkpoints import AtomicCheckpointIO
from zoo.errors import NotFiniteError
from zoo.running.fitting import prepare
from zoo.running.run import Run
from zoo.running.training import Training

pytestmark = pytest.mark.filterwarnings("ignore")

STEP_LR = {"lr_scheduler": "StepLR", "lr_scheduler.step_size": 2}
CYCLE = {"lr_scheduler": "zoo.optimization.OneCycle"}
EVERY_OTHER = {"lr_scheduler_interval": "step", "lr_scheduler_frequency": 2}
PICTURES: dict[str, Any] = {
    "model": "fashion_ffnn",
    "trainer.max_epochs": 2,
    "trainer.check_val_every_n_epoch": 1,
    "trainer.val_check_interval": 1.0,
}
ROWS: dict[str, Any] = {
    "model": "logistic_regression",
    "trainer.max_epochs": 25,
    "trainer.check_val_every_n_epoch": 10,
}
# What a run is made of, and how many of its updates are learned round Lightning.
RUNS: dict[str, tuple[dict[str, Any], int]] = {
    "dropout": (PICTURES, 38),
    "a schedule over all updates": ({**PICTURES, **CYCLE}, 38),
    "every other update": ({**PICTURES, **STEP_LR, **EVERY_OTHER}, 38),
    "a schedule by epochs": ({**PICTURES, **STEP_LR}, 38),
    "clipped": ({**PICTURES, "trainer.gradient_clip_val": 0.1}, 38),
    "averaged": ({**PICTURES, "learning.averaging": 0.8}, 38),
    "bfloat16": ({**PICTURES, "trainer.precision": "bf16-mixed"}, 38),
    "augmented": ({**PICTURES, "augmented": True}, 38),
    "validated within epochs": ({**PICTURES, "trainer.val_check_interval": 7}, 30),
    "validated every 30 batches": (
        {**PICTURES, "trainer.val_check_interval": 30, "trainer.check_val_every_n_epoch": None},
        36,
    ),
    "a part of the data": ({**PICTURES, "trainer.limit_train_batches": 7}, 10),
    "stopped by steps": ({**PICTURES, "trainer.max_steps": 27}, 23),
    "epochs of a few rows": (ROWS, 92),
    "epochs of a few rows, a schedule": ({**ROWS, **STEP_LR}, 92),
    "epochs of a few rows, averaged": ({**ROWS, "learning.averaging": 0.9}, 92),
}


class Seeing(Callback):
    """A callback that wants to see every batch."""

    def on_train_batch_start(self, *_: Any) -> None:
        """See it."""


class Noise(nn.Module):
    """Draws from torch's random numbers, as dropout does."""

    def forward(self, x: Tensor) -> Tensor:
        return x ^ torch.randint_like(x, 128)


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (424, 1, 28, 28), np.uint8), rng.integers(0, 10, 424)


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices of the batches that were learned round Lightning."""
    indices: list[int] = []
    learn = Learner.learn

    def noting(self: Learner, batch: Any, index: int) -> None:
        indices.append(index)
        learn(self, batch, index)

    monkeypatch.setattr(Learner, "learn", noting)
    monkeypatch.setattr("zoo.callbacks.blocks.BLOCK_SECONDS", 60.0)
    monkeypatch.setattr("zoo.callbacks.blocks.SPAN_SECONDS", 60.0)
    return indices


def train(
    folder: Path,
    settings: dict[str, Any],
    data: Any,
    *callbacks: Callback,
    checkpoint_every: str = "5min",
) -> Run:
    settings = {**settings, "trainer.default_root_dir": str(folder), "trainer.accelerator": "cpu"}
    augmented = settings.pop("augmented", False)
    given = {
        key: settings.pop(key) for key in ("model", "lr_scheduler", "optimizer") if key in settings
    }
    options: dict[str, Any] = given
    if options["model"] == "fashion_ffnn":
        options["data"] = data
        settings = {"model.hidden_dim": 8, "data.batch_size": 15, **settings}
    training = Training(*prepare(settings, **options), checkpoint_every=checkpoint_every)
    if augmented:
        training.data.augment = nn.Sequential(Noise())
    training.trainer.callbacks += callbacks
    return training.fit()


def left(run: Run) -> dict[str, Any]:
    """Return what a run leaves behind, but for what is measured by a clock."""
    last = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    best = torch.load(run.folder / "checkpoints" / "best.ckpt", weights_only=True)
    recorded = Recorded(run.folder)
    curves = {
        tag: sorted((point.step, point.value) for point in recorded.events.Scalars(tag))
        for tag in recorded.tags("scalars")
        if "speed" not in tag
    }
    kept = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "epoch", "global_step")
    return {
        "weights": {name: p.tolist() for name, p in run.model.state_dict().items()},
        "metrics": run.metrics,
        "curves": curves,
        "last": repr({key: last[key] for key in kept}),
        "best": repr({key: best[key] for key in kept}),
    }


@pytest.mark.parametrize("name", RUNS)
def test_blocks_leave_what_single_batches_do(
    name: str, tmp_path: Path, pictures: Any, learned: list[int]
) -> None:
    settings, expected = RUNS[name]
    in_blocks = left(train(tmp_path / "blocks", settings, pictures))
    assert len(learned) == expected
    learned.clear()
    one_by_one = left(train(tmp_path / "single", settings, pictures, Seeing()))
    assert not learned
    for what, value in one_by_one.items():
        assert in_blocks[what] == value, what


def test_a_run_goes_on_from_within_a_block_of_another_run(
    tmp_path: Path, pictures: Any, learned: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "zoo.callbacks.blocks.BLOCK_SECONDS", 0.0
    )  # one of Lightning's, one of ours
    copied: list[Path] = []
    save = AtomicCheckpointIO.save_checkpoint

    def save_and_copy(self: Any, checkpoint: Any, path: Any, **options: Any) -> None:
        save(self, checkpoint, path, **options)
        if Path(path).name == "last.ckpt":
            copied.append(tmp_path / "stopped" / f"version_{len(copied)}")
            shutil.copytree(Path(path).parent.parent, copied[-1])

    with monkeypatch.context() as patch:
        patch.setattr(AtomicCheckpointIO, "save_checkpoint", save_and_copy)
        whole = train(tmp_path / "whole", PICTURES, pictures, checkpoint_every="0.0001s")
    steps = [
        torch.load(c / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
        for c in copied
    ]
    assert steps[:4] == [2, 4, 6, 8]
    for at in (3, 12):
        learned.clear()
        went_on = zoo.fit(
            "fashion_ffnn", pictures, resume=copied[at], settings={"data.batch_size": 15}
        )
        assert learned
        assert left(went_on)["weights"] == left(whole)["weights"]
        assert went_on.metrics == whole.metrics


@pytest.mark.parametrize(
    "settings",
    [
        {"trainer.accumulate_grad_batches": 2},
        {"optimizer": "LBFGS", "optimizer.lr": 0.01},
        {"lr_scheduler": "ReduceLROnPlateau", "lr_scheduler.monitor": "loss/val"},
        {"trainer.logger": "CSVLogger"},
        {"trainer.profiler": "simple"},
        {"checkpoint_every": "3"},
    ],
    ids=str,
)
def test_what_could_notice_gets_single_batches(
    settings: dict[str, Any], tmp_path: Path, pictures: Any, learned: list[int]
) -> None:
    settings = {**PICTURES, "trainer.max_epochs": 1, **settings}
    every = settings.pop("checkpoint_every", "5min")
    if "trainer.logger" in settings:
        settings["trainer.logger.save_dir"] = str(tmp_path)
    train(tmp_path, settings, pictures, checkpoint_every=every)
    assert not learned


def test_the_first_loss_that_is_no_number_stops_a_block_too(
    tmp_path: Path, pictures: Any, learned: list[int]
) -> None:
    with pytest.raises(NotFiniteError, match=r"failed in step \d+"):
        train(tmp_path, {**PICTURES, "optimizer.lr": 1e30}, pictures)
    assert len(learned) < 5
