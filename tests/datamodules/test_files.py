"""Files that are there whole or not at all."""

import os
import shutil
from pathlib import Path

import pytest

from datamodules.files import NotWrittenError, atomic_write


def test_what_fails_leaves_what_stood_there(tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    file.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(file, "w") as opened:
        opened.write(str(1 / 0))
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_was_deleted_meanwhile_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "checkpoints"
    for content in ("first", "second"):
        with atomic_write(folder / "last.ckpt", "w") as opened:
            opened.write(content)
        assert (folder / "last.ckpt").read_text() == content
        shutil.rmtree(tmp_path / "runs")


@pytest.mark.skipif(os.name != "posix", reason="its working directory cannot be deleted")
def test_a_working_directory_that_was_deleted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    with pytest.raises(NotWrittenError) as caught, atomic_write("runs/last.ckpt"):
        pass
    assert caught.value.filename == "runs/last.ckpt"
