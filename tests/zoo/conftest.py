"""A table and a network of it; what files of strangers must not leave behind."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hostile import PAYLOAD, QUICK, Run
from small_table import N, trained

from datamodules import Tabular


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mark that `payload` leaves when it is imported, as it can be from anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "payload", raising=False)
    path = tmp_path / "mark"
    importable = tmp_path / "importable"
    importable.mkdir()
    (importable / "payload.py").write_text(PAYLOAD.format(mark=str(path)))
    monkeypatch.syspath_prepend(importable)
    return path


@pytest.fixture
def xor_run(mark: Path, run_cli: Run) -> Path:
    """A finished run, to be changed as a stranger would."""
    result = run_cli("fit", "--model", "xor_mlp", *QUICK)
    assert result.status == 0, result.err
    return Path("runs/xor_mlp/version_0")


@pytest.fixture
def people():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, N).astype(float),
            "city": rng.choice(["Rome", "Oslo", "Köln, old town"], N),
            "joined": pd.date_range("2020-01-01", periods=N, freq="3D").strftime("%d.%m.%Y"),
        }
    )
    frame["left"] = np.where(frame["age"] + 20 * (frame["city"] == "Rome") > 55, "yes", "no")
    frame.loc[::9, "age"] = np.nan
    return frame


@pytest.fixture
def weights(people, tmp_path):
    people.to_csv(tmp_path / "people.csv", index=False)
    trained(Tabular(str(tmp_path / "people.csv"), "left"), tmp_path)
    return tmp_path / "w.safetensors"
