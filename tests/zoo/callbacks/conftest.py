"""Four small runs with everything on: a classifier, a binary, a regression, a recurrent network."""

import contextlib
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from recorded import NETWORKS, Run

from zoo.cli.fit import main


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory, cache_home: Path) -> Callable[..., Run]:
    """Train a network through the front end; a picture that cannot be drawn fails the test."""

    def make(model: str, *options: str, inspect: str = "full") -> Run:
        root = tmp_path_factory.mktemp("runs")
        argv = ["--model", model, *options, "--trainer.default_root_dir", str(root)]
        with (
            pytest.MonkeyPatch.context() as patch,
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "ZOO_RUN_FOLDER"):
                patch.setenv(name, "0")  # so that leaving the context puts it back
                del os.environ[name]
            warnings.filterwarnings("error", message="TensorBoard lacks")
            main([*argv, "--inspect", inspect])
        (folder,) = root.glob("*/version_0")
        return Run(folder)

    return make


@pytest.fixture(scope="session")
def runs(make_run: Callable[..., Run]) -> dict[str, Run]:
    """The four runs, by what kind of network they train."""
    return {kind: make_run(*arguments) for kind, arguments in NETWORKS.items()}


@pytest.fixture(params=NETWORKS)
def run(request: pytest.FixtureRequest, runs: dict[str, Run]) -> Run:
    """One of the four runs after the other."""
    return runs[request.param]
