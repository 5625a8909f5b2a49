"""`sweep`: processes that die lose no point and score none twice."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sweeps import ROOT, study_of

import zoo

optuna = pytest.importorskip("optuna")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


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
