"""MNIST and FashionMNIST: finding the files, refusing damaged ones, choosing a part."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from idx_files import NAMES, contents, idx, replace

from datamodules import MNIST, FashionMNIST, UserError

# Finding the files


def test_finds_plain_files_directly_in_the_folder(folder: Path) -> None:
    data = FashionMNIST(data_dir=str(folder))
    sizes = {split: len(x) for split, (x, _) in data.splits.items()}
    assert sizes == {"train": 55_000, "val": 5_000, "test": 10_000}
    x, y = data.splits["test"]
    assert data.origin == "real"
    assert (x.dtype, tuple(x.shape)) == (torch.uint8, (10_000, 1, 28, 28))
    assert (x[300] == 300 % 251).all()
    assert (y.dtype, y[13].item()) == (torch.int64, 3)


def test_finds_torchvisions_layout_gzipped_and_by_environment_variable(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in NAMES:
        content = gzip.compress((published / name).read_bytes(), compresslevel=1)
        (raw / f"{name}.gz").write_bytes(content)
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    data = MNIST(source="real")
    assert len(data.splits["test"][0]) == 10_000
    assert data.origin == "real"


def test_validation_comes_out_of_train_by_its_own_seed(folder: Path) -> None:
    data, other_batches, other_split = (
        MNIST(data_dir=str(folder), seed=seed, batch_size=size)
        for seed, size in ((0, 64), (0, 32), (1, 64))
    )
    torch.manual_seed(5)
    val = data.splits["val"][0].flatten(1)[:, 0]
    assert torch.equal(val, other_batches.splits["val"][0].flatten(1)[:, 0])
    assert not torch.equal(val, other_split.splits["val"][0].flatten(1)[:, 0])
    count = {s: np.bincount(data.splits[s][0][:, 0, 0, 0], minlength=251) for s in ("train", "val")}
    whole = np.bincount(np.arange(60_000) % 251, minlength=251)
    assert (count["train"] + count["val"] == whole).all()


@pytest.mark.parametrize("val_size", [6_000, 6_000.0, 0.1])
def test_validation_size_is_a_number_or_a_fraction(folder: Path, val_size: float) -> None:
    data = MNIST(data_dir=str(folder), val_size=val_size)
    assert len(data.splits["val"][0]) == 6_000


@pytest.mark.parametrize("val_size", [-5, 60_000, -0.1])
def test_an_impossible_validation_size_is_refused(folder: Path, val_size: float) -> None:
    with pytest.raises(UserError, match="val_size"):
        MNIST(data_dir=str(folder), val_size=val_size).setup()


def test_without_validation_images_all_are_trained_on(folder: Path) -> None:
    splits = MNIST(data_dir=str(folder), val_size=0).splits
    assert (len(splits["train"][0]), len(splits["val"][0])) == (60_000, 0)


def test_every_test_image_is_scored(folder: Path) -> None:
    data = MNIST(data_dir=str(folder), batch_size=7)
    assert sum(len(y) for _, y in data.test_dataloader()) == 10_000
    assert sum(len(y) for _, y in data.val_dataloader()) == 5_000


# Damaged files


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("train-images-idx3-ubyte", b"", "begins with nothing"),
        ("train-images-idx3-ubyte", b"\x00\x00", "begins with nothing"),
        ("train-images-idx3-ubyte", b"<!DOCTYPE html><html>not found", "not 2051"),
        ("t10k-images-idx3-ubyte", idx(2051, np.zeros((10_000, 28, 28), "u1"))[:-1], "damaged"),
        ("t10k-images-idx3-ubyte", idx(2051, np.zeros((60_000, 28, 28), "u1")), "not (10000,"),
        ("t10k-images-idx3-ubyte", idx(2049, np.zeros(10_000, "u1")), "not 2051"),
        ("t10k-labels-idx1-ubyte", idx(2049, np.zeros(10_000, "u1")) + b"x", "damaged"),
        ("t10k-labels-idx1-ubyte", idx(2049, np.full(10_000, 10, "u1")), "label 10"),
    ],
)
def test_a_damaged_file_is_named_and_left_alone(
    folder: Path, name: str, content: bytes, says: str
) -> None:
    replace(folder / name, content)
    before = contents(folder)
    with pytest.raises(UserError) as caught:
        FashionMNIST(data_dir=str(folder)).setup()  # auto: damage is no reason to fall back
    assert str(folder / name) in str(caught.value)
    assert says in str(caught.value)
    assert contents(folder) == before
    assert (folder / name).read_bytes() == content


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[: len(packed) // 2],  # half downloaded
        lambda packed: packed[:200] + bytes([packed[200] ^ 0xFF]) + packed[201:],
        lambda packed: packed[:-8] + bytes(4) + packed[-4:],  # wrong checksum
        lambda packed: b"not gzip at all",
        lambda packed: b"",
    ],
    ids=["truncated", "flipped", "checksum", "no gzip", "empty"],
)
def test_a_damaged_gzip_file_is_named_and_left_alone(folder: Path, damage: object) -> None:
    labels = np.random.default_rng(0).integers(10, size=10_000).astype(np.uint8)
    content = damage(gzip.compress(idx(2049, labels)))
    (folder / "t10k-labels-idx1-ubyte").unlink()
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        FashionMNIST(data_dir=str(folder)).setup()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_mnists_files_swapped_are_noticed(folder: Path, published: Path) -> None:
    (folder / NAMES[0]).unlink()
    (folder / NAMES[0]).symlink_to(published / NAMES[1])  # labels under the images' name
    with pytest.raises(UserError, match="train-images-idx3-ubyte"):
        MNIST(data_dir=str(folder)).setup()


# Choosing a part


def test_some_classes_are_renumbered_in_their_order(folder: Path) -> None:
    data = FashionMNIST(data_dir=str(folder), classes=[7, 2])
    x, y = data.splits["test"]
    assert data.class_names == ["Sneaker", "Pullover"]
    assert (data.num_classes, data.num_outputs) == (2, 2)
    assert len(x) == 2_000
    assert set(y.tolist()) == {0, 1}
    # Image 7 is the first of class 7, which is now class 0.
    assert (x[y == 0][0] == 7).all()


def test_few_examples_per_class_leave_the_other_splits_whole(folder: Path) -> None:
    data = MNIST(data_dir=str(folder), examples_per_class=5)
    assert torch.bincount(data.splits["train"][1]).tolist() == [5] * 10
    assert len(data.splits["val"][0]) == 5_000
    assert len(data.splits["test"][0]) == 10_000


def test_positive_classes_ask_a_yes_or_no_question(folder: Path) -> None:
    data = MNIST(data_dir=str(folder), positive_classes=[0, 1, 2])
    y = data.splits["test"][1]
    assert (data.task, data.num_classes, data.num_outputs) == ("binary", 2, 1)
    assert data.class_names == ["not 0 or 1 or 2", "0 or 1 or 2"]
    assert (y.dtype, tuple(y.shape)) == (torch.float32, (10_000,))
    assert y.mean().item() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"classes": [10]}, "--data.classes"),
        ({"classes": [3, 3]}, "--data.classes"),
        ({"positive_classes": [-1]}, "--data.positive_classes"),
        ({"examples_per_class": 0}, "--data.examples_per_class"),
        ({"examples_per_class": -3}, "--data.examples_per_class"),
        ({"batch_size": 0}, "--data.batch_size"),
        ({"batch_size": -64}, "--data.batch_size"),
    ],
)
def test_impossible_choices_are_refused(options: dict[str, object], names: str) -> None:
    with pytest.raises(UserError, match=names):
        MNIST(source="synthetic", **options)


# The published files


@pytest.mark.real_data
@pytest.mark.parametrize("dataset", [MNIST, FashionMNIST])
def test_the_published_files(dataset: type) -> None:
    data = dataset(source="real")
    assert {s: len(x) for s, (x, _) in data.splits.items()} == {
        "train": 55_000,
        "val": 5_000,
        "test": 10_000,
    }
    everything = torch.cat([data.splits[s][0] for s in ("train", "val")]).float() / 255
    mean, std = data.pixel_mean_and_std
    assert everything.mean().item() == pytest.approx(mean, abs=5e-5)
    assert everything.std().item() == pytest.approx(std, abs=5e-5)
    labels = torch.cat([data.splits[s][1] for s in ("train", "val")])
    assert len(torch.bincount(labels)) == 10
