"""A training that was stopped anywhere ends as if nothing had happened."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from stopped import outcome, pictures, step_of

import zoo
from zoo.callbacks.checkpoints import AtomicCheckpointIO
from zoo.errors import UserError
from zoo.run_folder import CARD, CHECKPOINTS, LAST, PREVIOUS, locked
from zoo.running.run import Run

pytestmark = pytest.mark.filterwarnings("ignore")

# Few updates, validated within epochs too.
SHORT = {"max_epochs": 3, "limit_train_batches": 5, "limit_val_batches": 1}
PLATEAU = {"lr_scheduler": "ReduceLROnPlateau", "lr": 0.1}
# What a run is made of, one after the other.
RUNS: dict[str, dict[str, Any]] = {
    "dropout and a schedule over the whole training": {
        "model": "fashion_ffnn",
        "lr_scheduler": "zoo.optimization.OneCycle",
        "settings": {"model.hidden_dim": 8, "trainer.val_check_interval": 2},
    },
    "averaged weights and augmentation": {
        "model": "conv_net.tuned",
        "settings": {"trainer.val_check_interval": 2, "learning.averaging": 0.5},
    },
    "an LSTM": {"model": "mnist_lstm", "settings": {"model.hidden_dim": 4}},
    "frozen layers": {
        "model": "fashion_ffnn",
        "settings": {
            "model.hidden_dim": 8,
            "learning.freeze": ["backbone"],
            "learning.unfreeze_at_epoch": 1,
            "trainer.val_check_interval": 2,
        },
    },
    "a schedule that watches the validation": {
        "model": "fashion_ffnn",
        "lr_scheduler": "ReduceLROnPlateau",
        "settings": {
            "model.hidden_dim": 8,
            "lr_scheduler.monitor": "loss/val",
            "lr_scheduler.patience": 0,
            "lr_scheduler.threshold": 10.0,
        },
    },
    "accumulated gradients": {
        "model": "fashion_ffnn",
        "settings": {"model.hidden_dim": 8},
        "accumulate_grad_batches": 2,
    },
    "early stopping": {
        "model": "fashion_ffnn",
        "max_epochs": 6,
        "settings": {
            "model.hidden_dim": 8,
            "trainer.callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.EarlyStopping",
                    "init_args": {
                        "monitor": "loss/val",
                        "patience": 1,
                        "min_delta": 10.0,
                    },
                }
            ],
        },
    },
    "a mapped table": {
        "model": "tabular_mlp",
        "data": "table.csv",
        "target": "y",
        "settings": {"data.cache": "yes", "data.batch_size": 16},
    },
    "no validation": {
        "model": "fashion_ffnn",
        "limit_val_batches": 0,
        "settings": {"model.hidden_dim": 8},
    },
}


def run(root: Path, **options: Any) -> Run:
    given = {**SHORT, "inspect": "none", "logger": False, "accelerator": "cpu", **options}
    given.setdefault("data", pictures())
    return zoo.fit(**given, default_root_dir=str(root))


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Path]]:
    """Copies of the run folder as each writing of the last checkpoint left it."""
    taken: list[Path] = []
    save = AtomicCheckpointIO.save_checkpoint

    def save_and_copy(self: Any, checkpoint: Any, path: Any, **options: Any) -> None:
        save(self, checkpoint, path, **options)
        if Path(path).name == LAST:
            copy = tmp_path / "stopped" / f"version_{len(taken)}"
            shutil.copytree(Path(path).parent.parent, copy)
            taken.append(copy)

    with monkeypatch.context() as patch:
        patch.setattr(AtomicCheckpointIO, "save_checkpoint", save_and_copy)
        yield taken


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_stopped_after_any_update_ends_as_if_it_had_not_been(
    tmp_path: Path, snapshots: list[Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 3))
    table = "a,b,c,y\n" + "".join(f"{a},{b},{c},{a + b > c}\n" for a, b, c in rows)
    (tmp_path / "table.csv").write_text(table)
    monkeypatch.chdir(tmp_path)
    again = {} if "data" in RUNS[name] else {"data": pictures()}
    whole = run(tmp_path / "whole", **RUNS[name])
    snapshots.clear()
    shutil.rmtree(tmp_path / "stopped")
    often = run(tmp_path / "often", checkpoint_every="1", **RUNS[name])
    expected = outcome(whole.folder)
    assert outcome(often.folder) == expected
    stopped, wrong = snapshots[::2], []
    assert len(stopped) >= 3
    for folder in stopped:
        found = zoo.fit(**again, resume=folder, inspect="none")
        assert found.folder == folder
        if outcome(folder) != expected:
            wrong.append(folder.name)
    assert not wrong


def test_a_run_is_stopped_twice_within_one_epoch(tmp_path: Path, snapshots: list[Path]) -> None:
    made = {"model": "fashion_ffnn", "settings": {"model.hidden_dim": 8}}
    whole = run(tmp_path / "whole", checkpoint_every="1", **made)
    first = snapshots[6]
    snapshots.clear()
    shutil.move(tmp_path / "stopped", tmp_path / "first")
    first = tmp_path / "first" / first.name
    assert step_of(first / CHECKPOINTS / LAST) == 7
    zoo.fit(data=pictures(), resume=first, inspect="none", checkpoint_every="1")
    assert step_of(snapshots[0] / CHECKPOINTS / LAST) == 8
    zoo.fit(data=pictures(), resume=snapshots[0], inspect="none")
    assert outcome(snapshots[0]) == outcome(whole.folder)


def test_data_that_are_brought_again_are_read_as_they_were(
    tmp_path: Path, snapshots: list[Path]
) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 3)), columns=list("abc"))
    frame["y"] = frame.a + frame.b > frame.c
    made = {"model": "tabular_net", "data": frame, "target": "y"}
    options = {"data.batch_size": 16, "data.val_size": 0.3}
    whole = run(tmp_path / "whole", checkpoint_every="1", settings=options, **made)
    zoo.fit(data=frame, resume=snapshots[2], inspect="none")
    assert outcome(snapshots[2]) == outcome(whole.folder)


def test_a_finished_run_is_made_longer(tmp_path: Path) -> None:
    made = {"model": "fashion_ffnn", "settings": {"model.hidden_dim": 8}}
    long = run(tmp_path / "long", max_epochs=4, **made)
    short = run(tmp_path / "short", max_epochs=2, **made)
    again = {"data": pictures(), "resume": short.folder, "inspect": "none"}
    with pytest.raises(UserError, match=r"has finished.*max_epochs"):
        zoo.fit(**again)
    zoo.fit(**again, max_epochs=4)
    assert outcome(short.folder) == outcome(long.folder)


def test_the_newest_unfinished_run_of_a_name(tmp_path: Path) -> None:
    short = run(tmp_path, max_epochs=2, model="fashion_ffnn", settings={"model.hidden_dim": 8})
    named = {"model": "fashion_ffnn", "resume": True, "default_root_dir": str(tmp_path)}
    with pytest.raises(UserError, match=f"no unfinished run.*--resume {short.folder}"):
        zoo.fit(data=pictures(), **named)
    (short.folder / CARD).unlink()  # as if it had been killed just before
    (short.folder.parent / "version_\N{SUPERSCRIPT TWO}").mkdir()
    assert zoo.fit(data=pictures(), **named).folder == short.folder


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(tmp_path, model="fashion_ffnn", settings={"model.hidden_dim": 8})
    expected = outcome(whole.folder)
    (whole.folder / CARD).unlink()
    again = {"data": pictures(), "resume": whole.folder, "inspect": "none"}
    last, previous = (whole.folder / CHECKPOINTS / name for name in (LAST, PREVIOUS))
    damage(last)
    step = step_of(previous)
    capsys.readouterr()
    zoo.fit(**again)
    out = capsys.readouterr().out
    assert f"'{last}' is not a checkpoint of a run, or is damaged" in out
    assert f"going on from {previous}, epoch 3, step {step}" in out
    assert outcome(whole.folder) == expected
    (whole.folder / CARD).unlink()
    damage(last)
    damage(previous)
    with pytest.raises(UserError, match=r"last\.ckpt.*previous\.ckpt.*Begin the run again"):
        zoo.fit(**again)
    last.unlink()
    previous.unlink()
    with pytest.raises(UserError, match="nothing to go on from"):
        zoo.fit(**again)


def damage(file: Path) -> None:
    """Change one bit in the middle of its weights."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_two_trainings_are_not_in_one_folder(tmp_path: Path) -> None:
    done = run(tmp_path, model="fashion_ffnn", settings={"model.hidden_dim": 8})
    again = {"data": pictures(), "resume": done.folder, "inspect": "none", "max_epochs": 5}
    with locked(done.folder), pytest.raises(UserError, match=r"going on in .* right now"):
        zoo.fit(**again)
    assert zoo.fit(**again).epochs == 5


def test_the_same_settings_give_the_same_weights_whatever_was_made_before(tmp_path: Path) -> None:
    made = {"model": "fashion_ffnn", "settings": {"model.hidden_dim": 8}}
    first = outcome(run(tmp_path / "first", **made).folder)
    zoo.create_model("mnist_lstm")
    torch.manual_seed(5)
    np.random.seed(5)
    torch.nn.Linear(3, 3)
    run(tmp_path / "other", model="conv_net.tuned", seed=3)
    assert outcome(run(tmp_path / "second", **made).folder) == first
