"""IDX files: reading them, and telling the published ones from others."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules import MNIST, FashionMNIST
from datamodules.idx import md5_of, read_idx
from datamodules.images import FILES, NUM_EXAMPLES, UnpublishedDataWarning

MAGIC = 2049


def write_idx(path: Path, values: torch.Tensor, magic: int) -> str:
    header = np.array([magic, *values.shape], dtype=">i4").tobytes()
    path.write_bytes(header + values.numpy().tobytes())
    return md5_of(values, magic)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    values = torch.arange(10, dtype=torch.uint8)
    write_idx(tmp_path / "labels", values, MAGIC)

    assert torch.equal(read_idx(tmp_path / "labels", MAGIC, (10,)), values)


def test_files_that_are_not_the_published_ones_are_told_apart(tmp_path: Path) -> None:
    for split, (images, labels) in FILES.items():
        count = NUM_EXAMPLES[split]
        write_idx(tmp_path / images, torch.zeros(count, 28, 28, dtype=torch.uint8), 2051)
        write_idx(tmp_path / labels, torch.arange(count).remainder(10).byte(), MAGIC)
    data = MNIST(data_dir=str(tmp_path))

    with pytest.warns(UnpublishedDataWarning, match=r"t10k-labels.* cannot be compared"):
        data.setup()

    assert set(data.unpublished_files) == {name for pair in FILES.values() for name in pair}


@pytest.mark.real_data
def test_published_files_are_known_by_their_content(recwarn: pytest.WarningsRecorder) -> None:
    data = FashionMNIST(source="real")
    data.setup()

    assert data.unpublished_files == []
    assert not [w for w in recwarn if w.category is UnpublishedDataWarning]
