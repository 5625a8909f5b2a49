"""`sweep`: what a user may get wrong, and points that fail."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from sweeps import QUICK, ROOT, SHORT, clusters

import zoo
from zoo.errors import UserError

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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
