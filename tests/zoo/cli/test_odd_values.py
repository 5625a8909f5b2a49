"""Values that are no values: one clear message each, and no hang."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--model", "xor_mlp", "-c=--"], "--config has no value"),
        (["--model=--"], "--model has no value"),
        (["--model", "xor_mlp", "--config", "scalar.yaml"], "`init_args:` of `model:`"),
        (["--model", "a" * 300], "model"),
        (["--weights", "é" * 300], "cannot be looked up"),
        (["--model", "xor_mlp", "--resume", "~nobody_of_that_name/run"], "home of a user"),
        (["--model", "xor_mlp", "--resume", "é" * 300], "cannot be looked up"),
        (["--model", "xor_mlp", "--config", "é" * 300], "cannot be looked up"),
        (["--model", "tabular_mlp", "--data", "é" * 300 + ".csv"], "cannot be looked up"),
        (["--model", "é" * 300 + ".yaml"], "cannot be looked up"),
        (["--model", "xor_mlp", "--resume", "elsewhere"], "no folder of a run"),
        (["--model", "xor_mlp", "--resume"], "no unfinished run of xor_mlp"),
        (
            ["--model", "xor_mlp", "--resume", "--trainer.default_root_dir=my runs"],
            "no unfinished run of xor_mlp in 'my runs'",
        ),
        (["--resume"], "--model NAME"),
        (["--resume", "runs", "--data", "mnist"], "--data does not go with --resume"),
        (["--model", "xor_mlp", "--checkpoint_every", "often"], "30s, 5min"),
        (["--model", "xor_mlp", "--checkpoint_every", "0"], "30s, 5min"),
        (["--model", "tabular_mlp", "--data", "pipe.csv"], "no regular file"),
    ],
)
def test_a_value_that_is_none_is_named(
    run_cli: Callable[..., Any], tmp_path: Path, argv: list[str], said: str
) -> None:
    (tmp_path / "scalar.yaml").write_text("model: {init_args: x}")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.csv")
    result = run_cli("fit", *argv)
    assert result.status == 2
    assert said in result.err
    assert "Traceback" not in result.err


@pytest.mark.skipif(os.name != "posix", reason="pipes of another kind")
def test_a_reader_that_goes_away_ends_no_training(tmp_path: Path) -> None:
    """`fit | head -1`."""
    argv = ("--model", "xor_mlp", "--inspect", "none", "--trainer.max_epochs", "20")
    process = subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "fit.py", *argv],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0, process.stderr.read()
    process.stderr.close()
    assert (tmp_path / "runs" / "xor_mlp" / "version_0" / "card.json").exists()
