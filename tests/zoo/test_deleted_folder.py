"""A run's folder that somebody deletes, moves or takes while the run trains."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch import Callback
from stopped import outcome, pictures

import zoo
from zoo.errors import UserError
from zoo.run_folder import CARD, CHECKPOINTS, CONFIG, LAST, WEIGHTS
from zoo.running.fitting import prepare
from zoo.running.training import Training

pytestmark = pytest.mark.filterwarnings("ignore")


class AtStep(Callback):
    """Does something with the folder of the run after an update."""

    def __init__(self, step: int, act: Any) -> None:
        self.step, self.act = step, act

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Do it."""
        if trainer.global_step == self.step:
            self.act()


def begin(root: Path, step: int, act: Any) -> Training:
    settings = {
        "trainer.max_epochs": 3,
        "trainer.limit_train_batches": 5,
        "trainer.limit_val_batches": 1,
        "trainer.accelerator": "cpu",
        "trainer.default_root_dir": str(root),
        "model.hidden_dim": 8,
    }
    made = prepare(settings, model="fashion_ffnn", data=pictures(), inspect="basic,-graph")
    training = Training(*made)
    training.trainer.callbacks.insert(0, AtStep(step, lambda: act(training.folder)))
    return training


@pytest.mark.parametrize("step", [3, 7, 15])
def test_a_deleted_folder_is_made_again_whole(tmp_path: Path, step: int) -> None:
    whole = begin(tmp_path / "whole", 0, None).fit()
    training = begin(tmp_path / "deleted", step, shutil.rmtree)
    with pytest.warns(UserWarning, match="was deleted while this run trained") as caught:
        training.fit()
    assert sum("was deleted" in str(warning.message) for warning in caught) == 1
    folder = training.folder
    assert outcome(folder)["sha256"] == outcome(whole.folder)["sha256"]
    assert (folder / CONFIG).read_text() == (whole.folder / CONFIG).read_text().replace(
        str(tmp_path / "whole"), str(tmp_path / "deleted")
    )
    assert list(folder.glob("events.out.tfevents.*"))
    # It is a run as any other: it can be made longer.
    assert zoo.fit(data=pictures(), resume=folder, inspect="none", max_epochs=4).epochs == 4


def test_a_run_whose_folder_was_deleted_can_be_gone_on_with(tmp_path: Path) -> None:
    whole = begin(tmp_path / "whole", 0, None).fit()
    training = begin(tmp_path / "deleted", 3, shutil.rmtree)

    class Failing(Callback):
        def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.current_epoch == 2:
                raise RuntimeError("stop")

    training.trainer.callbacks.append(Failing())
    with pytest.raises(RuntimeError, match="stop"):
        training.fit()
    names = {path.name for path in training.folder.iterdir()}
    assert {CONFIG, CHECKPOINTS} <= names
    assert yaml.safe_load((training.folder / CONFIG).read_text())["name"] == "fashion_ffnn"
    zoo.fit(data=pictures(), resume=training.folder, inspect="none")
    assert outcome(training.folder)["sha256"] == outcome(whole.folder)["sha256"]


def test_a_moved_folder_keeps_what_it_had(tmp_path: Path) -> None:
    training = begin(tmp_path, 7, lambda folder: folder.rename(tmp_path / "kept"))
    training.fit()
    assert (tmp_path / "kept" / CHECKPOINTS / LAST).exists()
    assert (training.folder / WEIGHTS).exists()


def test_another_runs_folder_is_not_written_into(tmp_path: Path) -> None:
    def take(folder: Path) -> None:
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "another").touch()

    training = begin(tmp_path, 7, take)
    with pytest.raises(UserError, match="is another run's now"):
        training.fit()
    written = {path.name for path in training.folder.iterdir()}
    assert CARD not in written
    assert CHECKPOINTS not in written
