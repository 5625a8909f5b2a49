"""Folders of pictures as data: layouts, formats and modes, what cannot be read, what is refused."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFiles, UserError
from datamodules.image_files.cropping import ImageReader
from datamodules.image_files.decoding import decode
from letters import write_letters


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    return write_letters(tmp_path / "letters", "ABC", 12)


def save(path: Path, colour: Any = (200, 10, 10), size: tuple[int, int] = (8, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def content(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_a_folder_for_each_class_is_split_in_proportion(letters: Path) -> None:
    data = ImageFiles(str(letters), size=20)
    assert data.class_names == ["A", "B", "C"]
    assert data.input_shape == (3, 20, 20)
    sizes = {split: y.bincount().tolist() for split, (_, y) in data.splits.items()}
    assert all(max(counts) - min(counts) <= 1 for counts in sizes.values())
    assert {split: sum(counts) for split, counts in sizes.items()} == {
        "train": 26,
        "val": 5,
        "test": 5,
    }
    assert data.splits["train"][0].dtype == torch.uint8
    again = ImageFiles(str(letters), size=20)
    other = ImageFiles(str(letters), size=20, seed=1)
    _ = again.splits, other.splits
    assert again.files == data.files
    assert other.files != data.files


def test_given_splits_are_kept(tmp_path: Path) -> None:
    for split, count in {"train": 4, "valid": 2, "test": 3}.items():
        write_letters(tmp_path / split, "AB", count)
    data = ImageFiles(str(tmp_path))
    assert {split: len(y) for split, (_, y) in data.splits.items()} == {
        "train": 8,
        "val": 4,
        "test": 6,
    }
    assert all("valid" in file.parts for file in data.files["val"])


def test_a_csv_of_file_and_label(letters: Path) -> None:
    rows = [f"{f.relative_to(letters)},{f.parent.name.lower()}" for f in letters.rglob("*.*")]
    (letters / "labels.csv").write_text("\n".join(["filename,class", *rows]))
    data = ImageFiles(str(letters / "labels.csv"))
    assert data.class_names == ["a", "b", "c"]
    assert sum(len(y) for _, y in data.splits.values()) == 36


def test_pictures_give_their_own_size_and_channels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(4):
            path = save(tmp_path / name / f"{number}.png", (number, 0, 9), (12, 9))
            Image.open(path).convert("L").save(path)
    assert ImageFiles(str(tmp_path)).input_shape == (1, 9, 12)


GREY = np.tile(np.linspace(0, 255, 16).astype(np.uint8), (16, 1))


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (Image.fromarray(GREY), "PNG"),
        (Image.fromarray(GREY), "BMP"),
        (Image.fromarray(GREY), "GIF"),
        (Image.fromarray(GREY), "TIFF"),
        (Image.fromarray(GREY).convert("RGB"), "PNG"),
        (Image.fromarray(GREY).convert("RGB"), "WEBP"),
        (Image.fromarray(GREY).convert("RGB"), "JPEG"),
        (Image.fromarray(GREY).convert("P"), "PNG"),
        (Image.fromarray(GREY).convert("RGBA"), "PNG"),
        (Image.fromarray(GREY).convert("LA"), "PNG"),
        (Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
        (Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF"),
        (Image.fromarray(GREY.astype(np.float32) / 255), "TIFF"),
        (Image.fromarray(GREY.astype(np.float32)), "TIFF"),
    ],
    ids=lambda part: part if isinstance(part, str) else part.mode,
)
def test_every_format_and_mode_gives_the_same_pixels(image: Image.Image, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    read = decode(content(image, kind, **options), "p").convert("L")
    assert np.abs(np.asarray(read).astype(int) - GREY).max() <= 4  # JPEG's loss


def test_a_transparent_background_is_unlike_what_is_drawn_on_it() -> None:
    for pen, behind in ((0, 255), (255, 0)):
        image = Image.new("RGBA", (9, 9), (pen, pen, pen, 0))
        image.paste((pen, pen, pen, 255), (3, 3, 6, 6))
        pixels = np.asarray(decode(content(image), "p").convert("L"))
        assert (pixels[0, 0], pixels[4, 4]) == (behind, pen)


def test_exif_rotation_is_followed() -> None:
    image = Image.new("RGB", (20, 10), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the right when shown
    upright = decode(content(image, "JPEG", exif=exif), "p")
    assert upright.size == (10, 20)
    assert np.asarray(upright.convert("L"))[2, 5] > 200


def test_unreadable_files_are_named_skipped_and_counted(letters: Path) -> None:
    (letters / "A" / "none.png").write_text("no picture")
    (letters / "A" / "empty.jpg").write_bytes(b"")
    whole = (letters / "B" / "000.png").read_bytes()
    (letters / "B" / "cut.png").write_bytes(whole[: len(whole) // 2])
    frames = [Image.new("L", (9, 9), c) for c in (0, 255)]
    frames[0].save(letters / "C" / "moving.gif", save_all=True, append_images=frames[1:])
    (letters / "C" / "notes.txt").write_text("mine")
    data = ImageFiles(str(letters))
    assert sum(len(y) for _, y in data.splits.values()) == 36
    assert "4 unreadable" in data.profile
    assert "classes: A 12, B 12, C 12" in data.profile
    for name in ("none.png", "empty.jpg", "cut.png", "moving.gif"):
        assert name in data.profile
    assert "1 file of other kinds" in data.profile
    for split, (x, y) in data.splits.items():
        for file, picture, target in zip(data.files[split], x, y, strict=True):
            assert file.parent.name == data.class_names[target]
            read = ImageReader(data.input_shape)(decode(file.read_bytes(), "p"))[0]
            assert torch.equal(picture, torch.from_numpy(read))


def test_a_picture_too_large_is_refused_by_its_header() -> None:
    header = bytearray(content(Image.new("L", (1, 1))))
    header[16:24] = (20_000).to_bytes(4, "big") * 2
    import zlib

    header[29:33] = zlib.crc32(bytes(header[12:29])).to_bytes(4, "big")
    with pytest.raises(UserError, match=r"p\.png.*pixels"):
        decode(bytes(header), "p.png")


def test_copies_in_two_splits_are_said(tmp_path: Path) -> None:
    write_letters(tmp_path / "train", "AB", 5)
    write_letters(tmp_path / "test", "AB", 3, seed=1)
    assert "two splits" not in ImageFiles(str(tmp_path)).profile
    shutil.copy(tmp_path / "train" / "A" / "000.png", tmp_path / "test" / "A" / "copy.png")
    assert "1 picture in two splits" in ImageFiles(str(tmp_path), val_split=1).profile.replace(
        ",", ""
    )


def test_more_than_memory_is_mapped_from_a_file(letters: Path, monkeypatch: Any) -> None:
    inside = ImageFiles(str(letters)).splits
    monkeypatch.setattr("datamodules.image_files.storage.free_memory", lambda: 0)
    mapped = ImageFiles(str(letters)).splits
    for split in inside:
        assert torch.equal(inside[split][0], mapped[split][0])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["cat/1.png", "cat/2.png", "cat/3.png"], "one class only, 'cat'"),
        (["1.png", "2.png"], "2 pictures and no folders"),
        (["cat/1.png", "cat/2.png", "Cat/1.png"], "'Cat' and 'cat'"),
        (["cat/1.png", "dog/notes.txt"], "no picture in .*dog"),
        (["test/cat/1.png", "test/dog/1.png"], "no pictures to train on"),
    ],
)
def test_folders_that_say_no_classes_are_refused_with_a_sentence(
    tmp_path: Path, files: list[str], message: str
) -> None:
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path) if path.suffix == ".png" else path.write_text("x")
    with pytest.raises(UserError, match=message):
        _ = ImageFiles(str(tmp_path)).splits


def test_classes_may_be_in_any_alphabet(tmp_path: Path) -> None:
    for name in ("猫", "собака"):
        for number in range(4):
            save(tmp_path / name / f"{number}.png", (number, 0, 0))
    assert set(ImageFiles(str(tmp_path)).class_names) == {"猫", "собака"}


@pytest.mark.parametrize("option", [{"size": 0}, {"channels": 2}, {"examples_per_class": 0}])
def test_impossible_options_are_named(option: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"--data.{next(iter(option))}"):
        ImageFiles("somewhere", **option)
