"""The API's pages have every public name and its arguments."""

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

import datamodules
import zoo

pytest.importorskip("pdoc", reason="the extra `docs` is not installed")
SCRIPT = Path(__file__).parents[2] / "scripts/maintain/api.py"


def test_every_public_name_and_argument_has_its_place(
    run_process: Callable, tmp_path: Path
) -> None:
    result = run_process(SCRIPT, "--out", tmp_path)
    assert result.status == 0, result.err
    assert result.out == f"{tmp_path / 'zoo.html'}\n"
    for package in (zoo, datamodules):
        page = (tmp_path / f"{package.__name__}.html").read_text("utf-8")
        for name in package.__all__:
            assert f'id="{name}"' in page
    page = (tmp_path / "zoo.html").read_text("utf-8")
    for argument in inspect.signature(zoo.fit).parameters:
        assert f"<strong>{argument}:</strong>" in page
