"""What every test shares: a cache and a folder of its own, and two ways to run the front end."""

import os

# One thread each: the tests' networks are small, and several processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, when torch is imported

import contextlib
import io
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parent.parent
# What Lightning and our front end leave in the environment of a process.
LEFT_BEHIND = (
    "PYTHONSAFEPATH",
    "GOMP_SPINCOUNT",
    "PL_GLOBAL_SEED",
    "PL_SEED_WORKERS",
    "ZOO_RUN_FOLDER",
    "ZOO_OWN_MODULES",
    "LOCAL_RANK",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests out unless they are asked for, and real data out where there is none."""
    asked_for = "slow" in config.option.markexpr or any("::" in a for a in config.args)
    if not asked_for:
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    if not os.environ.get("ZOO_DATA_DIR"):
        reason = "ZOO_DATA_DIR names no folder with the published files"
        for item in items:
            if item.get_closest_marker("real_data"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the cache in a folder of this session: made once, and in nobody's way."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Undo what a run changes for the whole process: seeds, warnings, variables, sys.path."""
    environment = {name: os.environ.pop(name, None) for name in LEFT_BEHIND}
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    path = list(sys.path)
    with warnings.catch_warnings():
        yield
    sys.path[:] = path
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    for name, value in environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@dataclass(frozen=True)
class Result:
    """What a command gave: its exit status and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def run_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command of the front end in this process, in a folder of the test's own."""
    from zoo.cli import run_command

    monkeypatch.chdir(tmp_path)

    def call(command: str, *argv: object) -> Result:
        out, err, status = io.StringIO(), io.StringIO(), 0
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            warnings.resetwarnings()  # what pytest hides, a user sees
            warnings.simplefilter("default")
            try:
                run_command(command, *map(str, argv))
            except SystemExit as end:
                status = end.code or 0
        return Result(status, out.getvalue(), err.getvalue())

    return call


@pytest.fixture
def run_process(tmp_path: Path) -> Callable[..., Result]:
    """Run Python in a process of its own: for start-up times, signals and several ranks."""

    def call(*argv: object, timeout: float = 120, **variables: str) -> Result:
        done = subprocess.run(
            [sys.executable, *map(str, argv)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return call
