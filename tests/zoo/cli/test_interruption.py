"""Ctrl-C, a full disk, several processes: runs in processes of their own."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[3]
FIT = (ROOT / "scripts" / "fit.py", "--model", "fashion_ffnn", "--data.source", "synthetic")
# Three epochs of 40 updates, with validations in the middle of epochs; dropout draws too.
OPTIONS = (
    *("--trainer.max_epochs", 3, "--trainer.limit_train_batches", 40, "--inspect", "none"),
    *("--trainer.val_check_interval", 25, "--lr_scheduler", "zoo.optimization.OneCycle"),
)
AVERAGE = (
    "--trainer.callbacks+=zoo.callbacks.averaging.ExponentialMovingAverage",
    "--trainer.callbacks.start_after=0",
)
# Ctrl-C in the middle of update 56: gradients are there, weights are old. SIGTERM in the middle of
# the validation after update 75: the network holds the average.
PRESS = """
import os, signal
from lightning.pytorch import Callback

class CtrlC(Callback):
    def on_before_optimizer_step(self, trainer, *_):
        if trainer.global_step == 55:
            os.kill(os.getpid(), signal.SIGINT)

class Sigterm(Callback):
    def on_validation_batch_end(self, trainer, *_):
        if trainer.global_step == 75:
            os.kill(os.getpid(), signal.SIGTERM)
"""


def only(root: Path, pattern: str) -> Path:
    (found,) = root.rglob(pattern)
    return found


@pytest.mark.parametrize(("press", "step"), [("CtrlC", 56), ("Sigterm", 75)])
def test_a_run_goes_on_after_a_signal_as_if_nothing_had_happened(
    run_process: Callable[..., Any], tmp_path: Path, press: str, step: int
) -> None:
    whole = run_process(*FIT, *OPTIONS, *AVERAGE, "--trainer.default_root_dir", "whole")
    assert whole.status == 0, whole.err
    (tmp_path / "press.py").write_text(PRESS)
    cut = run_process(
        *(*FIT, *OPTIONS, *AVERAGE, "--trainer.default_root_dir", "cut"),
        f"--trainer.callbacks+=press.{press}",
        PYTHONPATH=os.pathsep.join([str(ROOT), str(tmp_path)]),
    )
    assert cut.status == (130 if press == "CtrlC" else 143)
    assert "Traceback" not in cut.err
    last = only(tmp_path / "cut", "last.ckpt")
    assert f"--resume {last.parent.parent.relative_to(tmp_path)}" in cut.err
    # The update that was going on is finished first; a validation is not, it begins again.
    assert torch.load(last, weights_only=True)["global_step"] == step
    assert not list((tmp_path / "cut").rglob("weights.safetensors"))

    resumed = run_process(
        *(*FIT, *OPTIONS, *AVERAGE, "--trainer.default_root_dir", "resumed"),
        *("--ckpt_path", last),
    )
    assert resumed.status == 0, resumed.err
    expected, found = (
        load_file(only(tmp_path / name, "weights.safetensors")) for name in ("whole", "resumed")
    )
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    # Also the metrics, the validations and the epoch that was cut in two.
    tables = [
        [line for line in result.out.splitlines() if "(synthetic) " in line]
        for result in (whole, resumed)
    ]
    assert tables[0][-3:] == tables[1][-3:]


def test_an_average_is_not_taken_for_the_weights_that_learn(
    run_cli: Callable[..., Any], tmp_path: Path
) -> None:
    few = ("--trainer.limit_train_batches", 2, "--trainer.max_epochs", 1, "--inspect", "none")
    fit = ("fit", "--model", "mnist_classifier.tuned", "--data.source", "synthetic", *few)
    assert run_cli(*fit).status == 0
    last = only(tmp_path, "last.ckpt")
    result = run_cli(*fit, "--ckpt_path", last, "--learning.averaging", "null")
    assert result.status == 2
    assert "average of the weights" in result.err


@pytest.mark.slow
def test_the_command_that_ctrl_c_suggests_goes_on(
    run_process: Callable[..., Any], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, *map(str, FIT), "--trainer.max_epochs", "1000", "--inspect", "none"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (line := process.stdout.readline()).startswith("epoch 1/"):
            assert line, process.stderr.read()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    advice = err.partition("go on with: ")[2].split()
    result = run_process(
        FIT[0], *advice, "--trainer.max_epochs", 2, "--trainer.limit_train_batches", 200
    )
    assert result.status == 0, result.err


def test_ctrl_c_before_the_training_begins(tmp_path: Path) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    script = f"import sys, zoo.cli.request as r; r.parse_request = lambda argv: exec({code!r}); "
    script += "from zoo.cli import main; main(['fit'])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A disk of 6 MB; a checkpoint of the network with its momentum has 5.4."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only an administrator can mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("hidden_dim", [512, pytest.param(700, marks=pytest.mark.slow)])
def test_a_full_disk_is_named(
    run_process: Callable[..., Any], small_disk: Path, hidden_dim: int
) -> None:
    """512: the disk is full when the weights are saved; 700: with the first checkpoint."""
    result = run_process(
        *(*FIT, *OPTIONS, "--trainer.default_root_dir", small_disk),
        *("--model.hidden_dim", hidden_dim),
    )
    assert result.status == 2, result.err
    assert "Traceback" not in result.err
    assert "is full" in result.err
    assert str(small_disk) in result.err
    assert "--trainer.default_root_dir" in result.err


@pytest.mark.slow
def test_two_processes_train_as_one(run_process: Callable[..., Any], tmp_path: Path) -> None:
    """Half the batch on each of two processes: the same batches, so the same network."""
    same = ("--model.dropout", 0, "--trainer.accelerator", "cpu")
    one = run_process(
        *(*FIT, *OPTIONS, *same, "--data.batch_size", 64),
        *("--trainer.default_root_dir", "one"),
    )
    two = run_process(
        *(*FIT, *OPTIONS, *same, "--data.batch_size", 32),
        *("--trainer.default_root_dir", "two"),
        *("--trainer.strategy", "ddp", "--trainer.devices", 2),
    )
    assert (one.status, two.status) == (0, 0), two.err
    assert "cpu x 2" in two.out
    assert two.out.count("validation (synthetic)") == 1  # one process speaks
    assert two.err.count("SYNTHETIC DATA") == 1
    assert "warning" not in two.err
    expected, found = (
        load_file(only(tmp_path / name, "weights.safetensors")) for name in ("one", "two")
    )
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)
    tables = [
        [line.split()[2:] for line in result.out.splitlines() if "(synthetic) " in line][-3:]
        for result in (one, two)
    ]
    for left, right in zip(*tables, strict=True):
        assert [float(v) for v in left] == pytest.approx([float(v) for v in right], abs=2e-3)


def test_two_processes_read_and_measure_what_one_does(
    run_process: Callable[..., Any], tmp_path: Path
) -> None:
    """Also where nothing divides evenly: 703 rows in batches of 64, 150 to validate on."""
    draw = random.Random(0)
    rows = [[round(draw.gauss(0, 1), 3) for _ in range(3)] for _ in range(1003)]
    lines = [f"{a},{b},{c},{'yes' if a + b * c > 0 else 'no'}" for a, b, c in rows]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,y", *lines]))
    data = ("--data", "csv", "--data.path", "t.csv", "--data.target", "y")
    fit = (FIT[0], "--model", "tabular_mlp", *data, "--model.dropout", 0, "--inspect", "none")
    fit = (*fit, "--trainer.max_epochs", 3, "--trainer.accelerator", "cpu")
    one = run_process(*fit, "--data.batch_size", 64, "--name", "one")
    ddp = ("--trainer.strategy", "ddp", "--trainer.devices", 2)
    two = run_process(*fit, "--data.batch_size", 32, "--name", "two", *ddp)
    assert (one.status, two.status) == (0, 0), two.err
    assert two.out.count("cpu x 2") == 1
    runs = [tmp_path / "runs" / "tabular_mlp" / name for name in ("one", "two")]
    cards = [json.loads((run / "card.json").read_text()) for run in runs]
    assert cards[1]["metrics"] == pytest.approx(cards[0]["metrics"], abs=1e-5)
    assert len(list((tmp_path / "runs" / "tabular_mlp").iterdir())) == 2
    expected, found = (load_file(run / "weights.safetensors") for run in runs)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def test_torchrun_makes_one_run(run_process: Callable[..., Any], tmp_path: Path) -> None:
    result = run_process(
        *("-m", "torch.distributed.run", "--nproc-per-node", 2, FIT[0], "--model", "xor_mlp"),
        *("--trainer.accelerator", "cpu", "--trainer.devices", 2, "--trainer.max_epochs", 2),
        *("--inspect", "none"),
    )
    assert result.status == 0, result.err
    assert result.out.count("xor_mlp on LogicGate") == 1
    assert [p.name for p in (tmp_path / "runs" / "xor_mlp").iterdir()] == ["version_0"]
