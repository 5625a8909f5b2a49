"""`sweep`: searches, seeds and folds, workers that die, and what a user may get wrong."""

import collections
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors.torch import load_file

import zoo
from zoo.errors import UserError

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(__file__).parents[3]
QUICK = ("--model", "xor_mlp", "--trainer.max_epochs", "5", "--inspect", "none")
SHORT = {"max_epochs": 5, "inspect": "none"}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def clusters(count: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Return three clusters of four numbers."""
    draw = np.random.default_rng(0)
    y = draw.integers(0, 3, count)
    return (3 * np.eye(4)[y] + draw.normal(size=(count, 4))).astype("float32"), y


def study_of(folder: Path) -> Any:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    storage = optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name=folder.name, storage=storage)


def test_a_grid_ends_with_the_command_that_refits_the_best(run_cli: Callable[..., Any]) -> None:
    grid = ("--grid", "lr=1e-1,1e-3", "model.hidden_dim=4,8")
    result = run_cli("sweep", *QUICK, *grid, "--inspect", "basic")
    assert result.status == 0, result.err
    (folder,) = Path("runs/sweeps").iterdir()
    trials = study_of(folder).trials
    points = {(t.params["lr"], t.params["model.hidden_dim"]) for t in trials}
    assert points == {("1e-1", "4"), ("1e-1", "8"), ("1e-3", "4"), ("1e-3", "8")}
    # No trial saw the test split; the chosen one did, once.
    assert not [name for t in trials for name in t.user_attrs["metrics"] if "/test" in name]
    assert len(study_of(folder).user_attrs["test"]) == 1
    assert (folder / "search.png").stat().st_size > 1000
    shown = [f for f in folder.rglob("events.*") if b"session_start_info" in f.read_bytes()]
    assert len({file.parent for file in shown}) == 4  # TensorBoard's HParams has every trial

    again = result.out.partition("again ")[2].splitlines()[0].split()
    refitted = run_cli("fit", *again[2:])
    assert refitted.status == 0, refitted.err
    best = min(trials, key=lambda t: (-t.value, t.user_attrs["metrics"]["loss/val"]))
    (card,) = Path("runs/xor_mlp").rglob("card.json")
    metrics = json.loads(card.read_text())["metrics"]
    for name, value in best.user_attrs["metrics"].items():
        assert metrics[name] == pytest.approx(value, abs=1e-6)


def test_the_same_command_again_does_nothing_twice(run_cli: Callable[..., Any]) -> None:
    command = ("sweep", *QUICK, "--random", "optimizer.lr=log(1e-3,1e-1)", "--name", "mine")
    assert run_cli(*command, "--trials", 2).status == 0
    before = [t.params for t in study_of(Path("runs/sweeps/mine")).trials]
    again = run_cli(*command, "--trials", 3)
    assert "2 of them are done already" in again.out
    after = study_of(Path("runs/sweeps/mine")).trials
    assert [t.params for t in after[:2]] == before
    assert [t.user_attrs["starts"] for t in after] == [1, 1, 1]
    assert after[2].params not in before


def test_other_data_are_another_sweep(run_cli: Callable[..., Any]) -> None:
    x, y = clusters(60)
    first = zoo.sweep("tabular_mlp", (x, y), grid={"optimizer.lr": [0.01]}, **SHORT)
    second = zoo.sweep("tabular_mlp", (-x, y), grid={"optimizer.lr": [0.01]}, **SHORT)
    again = zoo.sweep("tabular_mlp", (x.copy(), y), grid={"optimizer.lr": [0.01]}, **SHORT)
    assert first.folder == again.folder != second.folder
    table = ("sweep", "--model", "tabular_mlp", "--data", "csv", "--data.path", "t.csv")
    table = (*table, "--data.target", "y", "--grid", "lr=0.01", "--trainer.max_epochs", 1)
    for flipped in (1, -1):
        numbers = zip(flipped * x[:, 0], x[:, 1], y > 0, strict=True)
        rows = [f"{a:.3f},{b:.3f},{'v' if c else 'u'}" for a, b, c in numbers]
        Path("t.csv").write_text("\n".join(["a,b,y", *rows]))
        assert run_cli(*table, "--inspect", "none").status == 0
    assert len(list(Path("runs/sweeps").iterdir())) == 4


def test_without_ranges_it_takes_the_documents_own(run_cli: Callable[..., Any]) -> None:
    assert run_cli("sweep", *QUICK, "--name", "rates").status == 0
    rates = [float(t.params["optimizer.lr"]) for t in study_of(Path("runs/sweeps/rates")).trials]
    assert rates == [1e-2, 1e-3, 1e-4, 1e-5]
    sgd = ("--optimizer", "SGD", "--random", "--trials", 3, "--name", "drawn")
    assert run_cli("sweep", *QUICK, *sgd).status == 0
    for trial in study_of(Path("runs/sweeps/drawn")).trials:
        assert 1e-4 <= trial.params["optimizer.lr"] <= 1e-2
        assert 0.85 <= trial.params["optimizer.momentum"] <= 0.99


def test_a_hopeless_trial_is_pruned_and_no_other() -> None:
    rates = [0.1, 0.09, 0.08, 1e-7, 0.1001]
    found = zoo.sweep(
        "xor_mlp",
        grid={"optimizer.lr": rates},
        metric="loss/val",
        prune=True,
        name="pruned",
        **{**SHORT, "max_epochs": 20, "check_val_every_n_epoch": 3},
    )
    told = [len(t.intermediate_values) for t in study_of(Path("runs/sweeps/pruned")).trials]
    assert sorted(told)[1:] == [6] * 4, "training examples, measured at the end, are told, too"
    pruned = [trial for trial in found.trials if trial["state"] == "pruned"]
    assert [trial["settings"]["optimizer.lr"] for trial in pruned] == ["1e-07"]
    assert [trial["state"] for trial in found.trials].count("done") == 4
    assert pruned[0]["metrics"] == {}
    assert found.trials[0]["settings"] == found.best


def test_tpe() -> None:
    found = zoo.sweep(
        "xor_mlp",
        random={"optimizer.lr": "log(1e-4, 1e-1)", "model.hidden_dim": "int(2, 8)"},
        search="tpe",
        trials=6,
        **SHORT,
    )
    assert [t["state"] for t in found.trials] == ["done"] * 6
    assert found.trials[0]["settings"] == found.best
    assert "accuracy/test" in found.metrics
    assert all(2 <= int(t["settings"]["model.hidden_dim"]) <= 8 for t in found.trials)


def test_seeds_move_a_split_that_is_drawn_and_say_so(
    run_cli: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found = zoo.sweep("tabular_mlp", clusters(), seeds=3, **SHORT)
    assert "move the split too: train, val, test" in capsys.readouterr().out
    scores = [trial["metrics"]["accuracy/test"] for trial in found.trials]
    assert found.metrics["accuracy/test"] == pytest.approx(np.mean(scores))
    assert found.std["accuracy/test"] == pytest.approx(np.std(scores, ddof=1))
    assert len({trial["metrics"]["loss/test"] for trial in found.trials}) == 3
    result = run_cli("sweep", *QUICK, "--seeds", 2)
    assert "leave the split as it is" in result.out
    assert "±" in result.out


def test_folds_predict_every_example_once() -> None:
    x, y = clusters()
    found = zoo.sweep("tabular_mlp", (x, y), folds=5, **SHORT)
    with found.predictions.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(150))
    assert [int(row["target"]) for row in rows] == y.tolist()
    accuracy = np.mean([row["target"] == row["prediction"] for row in rows])
    assert found.metrics["accuracy/test"] == pytest.approx(accuracy, abs=1e-6)
    # Each class in proportion.
    for fold in range(5):
        held = [row["target"] for row in rows if row["fold"] == str(fold)]
        for label, count in collections.Counter(held).items():
            assert abs(count - np.sum(y == int(label)) / 5) < 1


def test_folds_of_sentences_tables_and_pictures(tmp_path: Path) -> None:
    words = {"good": "a wonderful film", "bad": "a dull film"}
    labels = [("good", "bad", "bad")[i % 3] for i in range(30)]
    lines = [f"{words[label]} {i},{label}" for i, label in enumerate(labels)]
    Path("t.csv").write_text("\n".join(["text,label", *lines]))
    numbers = [f"{i % 7},{i % 4},{label}" for i, label in enumerate(labels)]
    Path("numbers.csv").write_text("\n".join(["a,b,label", *numbers]))
    for label in "AB":
        Path("pictures", label).mkdir(parents=True)
        for i in range(6):
            pixels = np.full((8, 8), 20 * i + 100 * (label == "B"), np.uint8)
            Image.fromarray(pixels).save(f"pictures/{label}/{i}.png")
    short = {"trainer.max_epochs": 1, "trainer.enable_checkpointing": False}
    text = zoo.sweep(
        "sentiment_bilstm", folds=3, inspect="none", settings={"data.path": "t.csv", **short}
    )
    numbers = {"data.path": "numbers.csv", "data.target": "label", **short}
    table = zoo.sweep("tabular_mlp", folds=3, inspect="none", settings=numbers)
    images = {"data.path": "pictures", "data.val_split": 2, **short}
    pictures = zoo.sweep("fashion_ffnn", "images", folds=3, inspect="none", settings=images)
    for found, expected in ((text, labels), (table, labels), (pictures, ["A"] * 6 + ["B"] * 6)):
        with found.predictions.open() as file:
            rows = list(csv.DictReader(file))
        assert [int(row["row"]) for row in rows] == list(range(len(expected)))
        assert [row["target"] for row in rows] == expected
        folds = [(row["fold"], row["target"]) for row in rows]
        for label in set(expected):  # each class in proportion
            sizes = [folds.count((str(fold), label)) for fold in range(3)]
            assert max(sizes) - min(sizes) <= 1
        accuracy = np.mean([row["target"] == row["prediction"] for row in rows])
        assert found.metrics["accuracy/test"] == pytest.approx(accuracy, abs=1e-6)
    assert [Path(row["file"]).parent.name for row in rows] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--grid", "optimizer.lrr=1,2"), "no option --optimizer.lrr"),
        (("--grid", "model.hidden_dim=4,many"), "--model.hidden_dim takes int or list, not many"),
        (("--grid", "optimizer.lr="), "range of optimizer.lr is empty"),
        (("--random", "optimizer.lr=log(1,1)"), "range of optimizer.lr is empty"),
        (("--random", "optimizer.lr=log(0,1)"), "LOW above 0"),
        (("--random", "optimizer.lr=normal(0,1)"), "no range normal"),
        (("--grid", "optimizer.lr=1", "optimizer.lr=2"), "two ranges of optimizer.lr"),
        (("--metric", "accuracy/vla"), "accuracy/val"),
        (("--metric", "accuracy/test"), "validation data"),
        (("--seeds", 3, "--folds", 3), "--seeds and --folds"),
        (("--folds", 3), "LogicGate has no folds"),
        (("--trials", 0, "--random"), "--trials must be at least 1"),
        (("--jobs", 0), "--jobs must be at least 1"),
        (("--trainer.devices", 2), "--jobs"),
        (("--search", "gird"), "grid"),
        (("--name", ""), "cannot be ''"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    run_cli: Callable[..., Any], arguments: tuple[Any, ...], message: str
) -> None:
    result = run_cli("sweep", *QUICK, *arguments)
    assert result.status == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert not list(Path().rglob("trials"))


def test_a_missing_extra_is_named_with_its_command() -> None:
    hide = "import sys, runpy; sys.modules['optuna'] = None; sys.argv = ['zoo', 'sweep', "
    code = hide + "'--model', 'xor_mlp', '--seeds', '2']; runpy.run_module('zoo', None, '__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == (
        "error: A sweep needs optuna, which is not installed: pip install 'lightning-zoo[sweep]'\n"
    )


def test_more_folds_than_rows_of_a_class() -> None:
    x, y = clusters(30)
    y[y == 2] = 1
    y[:3] = 2
    with pytest.raises(UserError, match="3 examples of the smallest class for 5 folds"):
        zoo.sweep("tabular_mlp", (x, y), folds=5, **SHORT)


def test_a_storage_of_another_sweep_or_kind_is_refused(run_cli: Callable[..., Any]) -> None:
    mine = ("sweep", *QUICK, "--name", "mine")
    assert run_cli(*mine, "--grid", "lr=1e-2,1e-1").status == 0
    other = run_cli(*mine, "--grid", "lr=1e-3")
    assert other.status == 2
    assert "is of another sweep, with other ranges: lr=1e-2,1e-1, not lr=1e-3." in other.err
    Path("notes.txt").write_text("no journal\n")
    garbage = run_cli("sweep", *QUICK, "--storage", "notes.txt")
    assert garbage.status == 2
    assert "'notes.txt' cannot be used" in garbage.err
    assert "no such scheme" not in garbage.err
    url = run_cli("sweep", *QUICK, "--storage", f"sqlite:///{Path.cwd()}/s.db", "--grid", "lr=0.1")
    assert url.status == 0, url.err
    study = optuna.load_study(study_name="xor_mlp", storage=f"sqlite:///{Path.cwd()}/s.db")
    study.set_user_attr("zoo_request", {**study.user_attrs["zoo_request"], "format": 0})
    old = run_cli("sweep", *QUICK, "--storage", f"sqlite:///{Path.cwd()}/s.db", "--grid", "lr=0.1")
    assert old.status == 2
    assert "another version of the zoo" in old.err


def test_a_journal_that_a_stopped_process_holds_is_not_waited_for_in_vain(
    run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.sweeping import queue

    monkeypatch.setattr(queue, "PATIENCE_SECONDS", 1.0)
    with FileLock("mine.log.lock"):
        result = run_cli("sweep", *QUICK, "--grid", "lr=0.1", "--storage", "mine.log")
    assert result.status == 2
    assert result.err.startswith("error: 'mine.log' has been in use by another process")
    assert result.err.count("\n") == 1


def test_a_point_that_fails_costs_no_other(run_cli: Callable[..., Any]) -> None:
    result = run_cli("sweep", *QUICK, "--grid", "model.dropout=1.5,0", "--name", "mine")
    assert result.status == 0, result.err
    assert "trial 0 failed: The network or its data cannot be made" in result.out
    assert "model.dropout=0" in result.out.partition("best ")[2].splitlines()[0]


def start(*argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "sweep.py"), *argv],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


LONG = ("--model", "xor_mlp", "--inspect", "none", "--trainer.max_epochs", "300")
LONG = (*LONG, "--trainer.check_val_every_n_epoch", "1", "--grid", "lr=1e-1,1e-2", "--name", "mine")


def wait_for(pattern: str) -> Path:
    for _ in range(1800):  # on a busy machine, workers take a minute to start
        if found := list(Path().glob(pattern)):
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"there never was a {pattern}")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_trial_goes_on_where_its_process_ended(
    run_cli: Callable[..., Any], how: signal.Signals
) -> None:
    process = start(*LONG)
    wait_for("runs/sweeps/mine/trials/000/xor_mlp/version_0/checkpoints/last.ckpt")
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    if how == signal.SIGINT:
        assert process.returncode == 130
        advice = err.partition("go on with: python scripts/sweep.py ")[2].split()
        assert advice == list(LONG)
    result = run_cli("sweep", *LONG)
    assert result.status == 0, result.err
    trials = study_of(Path("runs/sweeps/mine")).trials
    assert [t.user_attrs["starts"] for t in trials] == [2, 1]
    # It went on: the weights are those of a run that was never ended.
    whole = zoo.fit("xor_mlp", inspect="none", max_epochs=300, check_val_every_n_epoch=1, lr=0.1)
    expected = load_file(whole.folder / "weights.safetensors")
    found = load_file(wait_for("runs/sweeps/mine/trials/000/xor_mlp/version_0/*.safetensors"))
    assert not list(Path("runs/sweeps/mine/trials/000/xor_mlp").glob("version_1"))
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.slow
def test_killed_workers_lose_no_point_and_score_none_twice() -> None:
    points = ("lr=1e-1,3e-2,1e-2,3e-3", "model.hidden_dim=2,4,8", "seed=0,1")
    process = start(*LONG[:-4], "--grid", *points, "--name", "mine", "--jobs", "2")
    wait_for("runs/sweeps/mine/trials/000/*/*/checkpoints/last.ckpt")
    draw = random.Random(0)
    for _ in range(10):
        time.sleep(draw.uniform(0.5, 6))
        listed = subprocess.run(
            ["ps", "--ppid", str(process.pid), "-o", "pid=,args="], capture_output=True, text=True
        )
        workers = [line.split()[0] for line in listed.stdout.splitlines() if "spawn_main" in line]
        if workers:
            os.kill(int(draw.choice(workers)), signal.SIGKILL)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    trials = study_of(Path("runs/sweeps/mine")).trials
    assert [t.state.name for t in trials] == ["COMPLETE"] * 24
    assert len({tuple(t.params.items()) for t in trials}) == 24
    assert out.count("accuracy/val 0.") + out.count("accuracy/val 1.") == 24
