"""`sweep`: searches, seeds and folds."""

import collections
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sweeps import QUICK, SHORT, clusters, study_of

import zoo

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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
