"""MNIST and FashionMNIST where files are missing: an error, a download, or drawn images."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from idx_files import NAMES, contents
from lightning.pytorch import Trainer
from torchvision import datasets

from datamodules import MNIST, FashionMNIST, UserError
from datamodules.images import SyntheticDataWarning


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("source", ["auto", "real"])
def test_an_incomplete_folder_is_an_error_that_names_what_is_missing(
    folder: Path, source: str
) -> None:
    (folder / "t10k-labels-idx1-ubyte").unlink()
    before = contents(folder)
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte.*missing"):
        FashionMNIST(data_dir=str(folder), source=source).setup()
    assert contents(folder) == before


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("exists", [True, False])
def test_real_never_falls_back(tmp_path: Path, exists: bool) -> None:
    data_dir = tmp_path / "empty"
    if exists:
        data_dir.mkdir()
    with pytest.raises(UserError) as caught:
        FashionMNIST(data_dir=str(data_dir), source="real").setup()
    message = str(caught.value)
    assert str(data_dir) in message
    assert "ZOO_DATA_DIR" in message
    assert "unreachable" in message
    assert all(name in message for name in NAMES)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("how", ["argument", "variable"])
@pytest.mark.parametrize("what", ["nothing", "empty", "other files", "unwritable"])
def test_a_folder_that_somebody_names_never_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, what: str
) -> None:
    data_dir = tmp_path / "images"
    if what != "nothing":
        data_dir.mkdir()
    if what == "other files":
        (data_dir / "cat.png").touch()
    if what == "unwritable":
        monkeypatch.setattr(Path, "mkdir", refuse_to_write)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setenv("ZOO_DATA_DIR", str(data_dir if how == "variable" else tmp_path))
    data = MNIST(data_dir=str(data_dir) if how == "argument" else None)
    with pytest.raises(UserError) as caught:
        data.setup()
    message = str(caught.value)
    named_by = {"argument": "--data.data_dir", "variable": "ZOO_DATA_DIR"}[how]
    assert f"MNIST is not in '{data_dir}', which {named_by} names" in message
    assert all(name in message for name in NAMES)
    assert ("Permission denied" if what == "unwritable" else "unreachable") in message
    assert "--data.source synthetic" in message
    assert sorted(tmp_path.rglob("*")) == before  # an empty folder of the user's stays


def refuse_to_write(path: Path, *_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied", str(path))


def test_a_download_goes_into_the_folder_that_somebody_names(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(root: str, download: bool) -> None:
        raw = Path(root, "MNIST", "raw")
        raw.mkdir(parents=True)
        for name in NAMES:
            (raw / name).symlink_to(published / name)

    monkeypatch.setattr(datasets, "MNIST", download)
    data = MNIST(data_dir=str(tmp_path / "new" / "folder"))
    data.setup()
    assert data.origin == "real"
    assert (tmp_path / "new" / "folder" / "MNIST" / "raw" / NAMES[0]).exists()


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_no_folder(name: str) -> None:
    with pytest.raises(UserError, match=r"--data\.data_dir is empty"):
        MNIST(data_dir=name)


def test_a_home_is_put_in_full(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(published.parent))
    assert len(MNIST(data_dir=f"~/{published.name}").splits["test"][0]) == 10_000
    with pytest.raises(UserError, match="~nobody_at_all/x"):
        MNIST(data_dir="~nobody_at_all/x")


def test_the_files_of_another_dataset_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MNIST and FashionMNIST name their files alike."""
    content = (folder / NAMES[3]).read_bytes()
    published = {**FashionMNIST.published_md5, "test": ("", hashlib.md5(content).hexdigest())}
    monkeypatch.setattr(FashionMNIST, "published_md5", published)
    with pytest.raises(UserError, match=f"{NAMES[3]}' is FashionMNIST's file, not MNIST's"):
        MNIST(data_dir=str(folder)).setup()


@pytest.mark.usefixtures("no_network")
def test_auto_falls_back_on_synthetic_images_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    data = MNIST()
    with pytest.warns(SyntheticDataWarning) as warned:
        data.setup()
    message = str(warned[0].message)
    assert all(word in message for word in ("not MNIST", "unreachable", "data_dir", "ZOO_DATA_DIR"))
    assert data.origin == "synthetic"
    assert {s: len(x) for s, (x, _) in data.splits.items()} == {
        "train": 11_000,
        "val": 1_000,
        "test": 2_000,
    }
    assert not (tmp_path / "data").exists()  # a failed download leaves no empty folders


def test_synthetic_neither_reads_nor_downloads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(datasets, "FashionMNIST")
    data = FashionMNIST(data_dir=str(folder), source="synthetic")
    with pytest.warns(SyntheticDataWarning, match="asks for"):
        data.setup()
    assert data.origin == "synthetic"
    assert len(data.splits["test"][0]) == 2_000


def test_a_download_fills_in_what_is_missing_and_touches_nothing_else(
    folder: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(root: str, download: bool) -> None:
        raw = Path(root, "FashionMNIST", "raw")
        raw.mkdir(parents=True)
        for name in NAMES:
            (raw / name).symlink_to(published / name)
            (raw / f"{name}.gz").write_bytes(b"what torchvision leaves beside it")

    monkeypatch.setattr(datasets, "FashionMNIST", download)
    (folder / NAMES[3]).unlink()
    kept = {name: (folder / name).lstat().st_mtime_ns for name in NAMES[:3]}
    data = FashionMNIST(data_dir=str(folder), source="real")
    data.setup()
    assert data.origin == "real"
    assert {name: (folder / name).lstat().st_mtime_ns for name in NAMES[:3]} == kept
    assert sorted(p.name for p in (folder / "FashionMNIST" / "raw").iterdir()) == [NAMES[3]]


def test_of_several_processes_one_downloads(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[str] = []

    def download(root: str, download: bool) -> None:
        downloads.append(root)
        time.sleep(0.2)  # the others come meanwhile
        raw = Path(root, "MNIST", "raw")
        raw.mkdir(parents=True)
        for name in NAMES:
            (raw / name).symlink_to(published / name)

    monkeypatch.setattr(datasets, "MNIST", download)
    processes = [MNIST(data_dir=str(tmp_path)) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda data: data.prepare_data(), processes))
    assert len(downloads) == 1
    assert all(data.splits and data.origin == "real" for data in processes)


def test_a_trainer_lets_its_first_process_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`prepare_data` is called there alone; `setup` everywhere."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a second process downloads")

    monkeypatch.setattr(datasets, "MNIST", fail)
    data = MNIST(data_dir=str(tmp_path))
    data.trainer = Trainer(logger=False, accelerator="cpu")
    with pytest.raises(UserError, match="the process that downloads has none"):
        data.setup("fit")


def test_a_data_dir_that_is_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(UserError, match="is a file"):
        MNIST(data_dir=str(path)).setup()


@pytest.mark.usefixtures("no_network")
def test_a_folder_that_may_not_be_read_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(UserError, match=f"{folder.name}.*Permission denied"):
        MNIST(data_dir=str(folder), source="real").setup()
