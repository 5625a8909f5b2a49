"""The tour for learners: it runs from top to bottom without a network, and its outputs are kept."""

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TOUR = Path(__file__).parents[2] / "scripts" / "tour.ipynb"


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what each cell of code printed."""
    return [
        "".join(output.text for output in cell.outputs if output.output_type == "stream")
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_its_outputs_are_kept_and_small() -> None:
    notebook = nbformat.read(TOUR, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) == 10
    assert all(cell.outputs for cell in code)
    assert TOUR.stat().st_size < 200_000
    assert str(Path.home()) not in TOUR.read_text("utf-8")


def test_a_learner_runs_it_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ZOO_DATA_DIR", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TOUR.parents[1]), *sys.path]))
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "original = socket.socket.connect\n"
        "def connect(self, address):\n"
        "    if isinstance(address, tuple) and not str(address[0]).startswith('127.'):\n"
        "        raise OSError('no network')\n"
        "    return original(self, address)\n"
        "socket.socket.connect = connect\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
    notebook = nbformat.read(TOUR, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources=where).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        curves = [o for o in cell.outputs if "<progress" in str(o.get("data", {}))]
        trainings = cell.source.count(" = zoo.fit(") * (3 if "for activation" in cell.source else 1)
        assert len(curves) == trainings
        assert not any("epoch 1/" in json.dumps(output) for output in cell.outputs)
        assert all(output.output_type != "error" for output in cell.outputs)
    now = printed(notebook)
    assert "fashion_ffnn" in now[0]
    assert "none     75%" in now[3] or "none     50%" in now[3]
    assert "relu     100%" in now[3]
    assert "It is a 3" in now[7]
    assert float(now[6].splitlines()[-1].partition("%")[0]) > 80
    assert len(list((tmp_path / "runs").glob("*/version_*/card.json"))) == 6
