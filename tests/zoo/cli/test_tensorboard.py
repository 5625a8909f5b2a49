"""`--open`: TensorBoard beside a run, on a free port of this machine alone, until Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from zoo.cli.tensorboard import TensorBoard, opened

SCRIPT = Path(__file__).parents[3] / "scripts" / "fit.py"


def test_fit_with_open_serves_until_interrupted(tmp_path: Path, cache_home: Path) -> None:
    argv = ["--model", "xor_mlp", "--trainer.max_epochs", "2", "--open"]
    process = subprocess.Popen(
        [sys.executable, "-u", str(SCRIPT), *argv],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    url, finished = None, False
    for line in process.stdout:
        if found := re.search(r"tensorboard +(http://127\.0\.0\.1:\d+/)", line):
            url = found.group(1)
        finished |= "goes on until Ctrl-C" in line
        if url and finished:
            break
    assert urlopen(url).status == 200
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    with pytest.raises(URLError):
        urlopen(url)


def test_two_servers_do_not_meet(tmp_path: Path) -> None:
    urls: list[str] = []
    servers = [TensorBoard(tmp_path, tell=urls.append) for _ in range(2)]
    try:
        deadline = time.monotonic() + 60
        while len(urls) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(set(urls)) == 2
    finally:
        for server in servers:
            server.stop()


def test_a_failed_run_takes_tensorboard_with_it(tmp_path: Path) -> None:
    before = running_servers()
    with pytest.raises(ValueError, match="no good"), opened(True, tmp_path):
        raise ValueError("no good")
    assert running_servers() == before


def running_servers() -> int:
    """Count this process's children that are a TensorBoard."""
    count = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = status.read_text().rpartition(")")[2].split()[1]
            command = status.with_name("cmdline").read_text()
        except OSError:  # gone meanwhile
            continue
        count += parent == str(os.getpid()) and "tensorboard.main" in command
    return count


def test_only_the_first_of_several_processes_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with opened(True, tmp_path):
        assert running_servers() == 0
