"""Tables to read: one of every kind of column, and files with any content."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from idx_files import NAMES, idx
from tables import N
from torchvision import datasets

from datamodules import Tabular
from datamodules.images import FILES


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


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four files of the published sizes; image i is filled with i % 251."""
    folder = tmp_path_factory.mktemp("idx")
    for split, count in (("train", 60_000), ("test", 10_000)):
        number = np.arange(count)
        images = np.broadcast_to((number % 251).astype(np.uint8)[:, None, None], (count, 28, 28))
        for name, content in zip(
            FILES[split],
            (idx(2051, images), idx(2049, (number % 10).astype(np.uint8))),
            strict=True,
        ):
            (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    """A folder of the test's own with the four files; replace one to damage it."""
    data = tmp_path / "images"
    data.mkdir()
    for name in NAMES:
        (data / name).symlink_to(published / name)
    return data


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    for name in ("MNIST", "FashionMNIST"):
        monkeypatch.setattr(datasets, name, fail)
