"""Tables to read: one of every kind of column, and files with any content."""

import numpy as np
import pandas as pd
import pytest
from tables import N

from datamodules import Tabular


@pytest.fixture
def people():
    """A table of every kind of column, with something missing in most of them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "person_id": np.arange(1000, 1000 + N),
            "age": rng.integers(18, 80, N).astype(float),
            "income": np.exp(rng.normal(10, 1.5, N)).round(2),
            "member": rng.choice(["yes", "no"], N),
            "plan": rng.choice(["basic", "plus", "pro"], N),
            "joined": pd.date_range("2020-01-01", periods=N, freq="31h").strftime("%Y-%m-%d %H:%M"),
            "comment": [f"text number {i} of many" for i in range(N)],
            "left": rng.choice(["stays", "leaves"], N, p=[0.8, 0.2]),
        }
    )
    frame.loc[rng.random(N) < 0.1, ["age"]] = np.nan
    frame.loc[rng.random(N) < 0.1, ["plan"]] = np.nan
    return frame


@pytest.fixture
def table(tmp_path):
    def make(frame, target, **options):
        path = tmp_path / "t.csv"
        frame.to_csv(path, index=False)
        data = Tabular(str(path), target, **options)
        data.setup()
        return data

    return make


@pytest.fixture
def file(tmp_path):
    def write(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
