"""A stride of `scripts/maintain/faults.py`: wherever writing fails, nothing older is lost."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(
    sys.platform != "linux" or not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="faults below Python need Linux and a C compiler",
)
def test_a_run_survives_what_fails_when_it_is_written() -> None:
    script = ROOT / "scripts" / "maintain" / "faults.py"
    command = [sys.executable, script, "--first", "5", "--stride", "23"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("a run ") == 6
