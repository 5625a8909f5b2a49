"""Many pictures at once: their headers, then their pixels, by several threads."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from datamodules.errors import UserError
from datamodules.image_files.cropping import ImageReader
from datamodules.image_files.decoding import (
    DAMAGED,
    GREY_MODES,
    UnreadableImageError,
    decode,
    open_header,
    read_bytes,
)

T = TypeVar("T")
R = TypeVar("R")
ORIENTATION = 0x0112  # EXIF's number for how the camera was held


@dataclass(frozen=True)
class Header:
    """What a file says of its picture, before that is decoded.

    Attributes:
        size: Width and height, as they are shown.
        is_grey: Whether it has no colours.
        problem: Why it cannot be read, if it cannot.
    """

    size: tuple[int, int] = (0, 0)
    is_grey: bool = False
    problem: str = ""


@dataclass
class Loaded:
    """Pictures, decoded.

    Attributes:
        pixels: (N, channels, height, width) uint8; nothing of those that could not be decoded.
        is_good: (N,) bool.
        digests: The MD5 of each file.
        problems: Why files could not be decoded.
        first: What was done to the first picture.
    """

    pixels: np.ndarray
    is_good: np.ndarray
    digests: dict[Path, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    first: str = ""


def read_headers(files: Sequence[Path]) -> list[Header]:
    """Return each file's header."""

    def header(file: Path) -> Header:
        try:
            with open_header(file, str(file)) as image:
                width, height = image.size
                lies = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
                is_grey = image.mode in GREY_MODES
        except UnreadableImageError as error:
            return Header(problem=str(error))
        except DAMAGED as error:
            return Header(problem=f"'{file}' is a damaged picture: {error}.")
        return Header((height, width) if lies else (width, height), is_grey)

    return list(_each(header, files, "looking at pictures"))


def load_images(files: Sequence[Path], reader: ImageReader, pixels: np.ndarray) -> Loaded:
    """Decode pictures, each once.

    Args:
        files: The files.
        reader: How they become pixels.
        pixels: Where to write them: (N, channels, height, width) uint8.
    """
    loaded = Loaded(pixels, np.ones(len(files), dtype=bool))

    def load(number: int) -> tuple[int, str, str, str]:
        file = files[number]
        try:
            content = read_bytes(file)
            pixels[number], done = reader(decode(content, str(file)))
        except UnreadableImageError as error:
            return number, "", "", str(error)
        return number, hashlib.md5(content, usedforsecurity=False).hexdigest(), done, ""

    for number, digest, done, problem in _each(load, range(len(files)), "reading pictures"):
        if problem:
            loaded.is_good[number] = False
            loaded.problems.append(problem)
            continue
        loaded.digests[files[number]] = digest
        loaded.first = loaded.first or done
    if not loaded.is_good.any():
        raise UserError(f"None of the {len(files)} pictures can be read: {loaded.problems[0]}")
    return loaded


def duplicates_across(
    digests: dict[str, list[str]], files: dict[str, list[Path]]
) -> list[tuple[Path, Path]]:
    """Return pairs of files with the same content that are in different splits."""
    seen: dict[str, tuple[str, Path]] = {}
    copies = []
    for role, values in digests.items():
        for digest, file in zip(values, files[role], strict=True):
            first_role, first = seen.setdefault(digest, (role, file))
            if first_role != role:
                copies.append((first, file))
    return copies


def _each(function: Callable[[T], R], items: Iterable[T], purpose: str) -> Iterator[R]:
    """Call a function on each item in several threads; in order, under a bar on a terminal."""
    items = list(items)
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter(
            "ignore", Image.DecompressionBombWarning
        )  # refused by us, and earlier
        results = pool.map(function, items)
        yield from tqdm(results, purpose, len(items), disable=None, leave=False, unit="")
