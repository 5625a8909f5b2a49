"""What a user has, as the batch that a network reads: pictures, arrays, numbers, sentences.

Tables are read row by row elsewhere (`zoo.cli.predict`): their columns are kept beside the answers.
"""

import glob
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from datamodules.folders import expand_home
from datamodules.image_files.cropping import ImageReader
from datamodules.image_files.decoding import (
    UnreadableImageError,
    as_image,
    decode,
    read_bytes,
    upright,
)
from datamodules.image_files.listing import find_pictures
from datamodules.spec import KIND_NAMES, DataSpec
from datamodules.text import token_ids, tokenize
from zoo.errors import UserError

MOST_BYTES = 2**28  # of an unpacked file; 60,000 images of 28 x 28 are 47 million
IDX_MAGIC = b"\x00\x00\x08"  # bytes, in one dimension or several
STANDARD_INPUT = "-"


@dataclass
class Inputs:
    """A batch, and what its examples are called.

    Attributes:
        names: A name for each example: a file, a number, a sentence.
        x: The raw batch, as the network's `forward` takes it.
        problems: What could not be read, a sentence for each.
        first: What was done to the first picture.
    """

    names: list[str]
    x: Tensor
    problems: list[str] = field(default_factory=list)
    first: str = ""


def read_inputs(spec: DataSpec, inputs: Sequence[str], standard_input: bytes = b"") -> Inputs:
    """Read what a user named for a network.

    Args:
        spec: The network's.
        inputs: Files, folders and globs; `-` for standard input. Numbers and sentences may stand
            here themselves.
        standard_input: Its content.

    Raises:
        UserError: If there is nothing to read, or the network reads something else.
    """
    if spec.kind == "pixels":
        return _pictures(spec, inputs, standard_input)
    if spec.kind == "tokens":
        sentences = _sentences(inputs, standard_input)
        words = [tokenize(sentence) for sentence in sentences]
        ids = token_ids(words, spec.preprocessing["vocabulary"], spec.input_shape[0])
        return Inputs(sentences, ids)
    if spec.kind == "none" and isinstance(spec.input_shape, tuple):
        return _numbers(spec, inputs, standard_input)
    kind = KIND_NAMES.get(spec.kind, spec.kind)
    raise UserError(f"The network reads {kind} of several parts, which no file holds.")


def check_pixels(pixels: Tensor, what: str) -> Tensor:
    """Return pixels, if they are bytes or floats from 0 to 1.

    Raises:
        UserError: If they are something else, such as floats from 0 to 255.
    """
    if pixels.dtype == torch.uint8:
        return pixels
    low, high = (float(v) for v in pixels.float().aminmax())
    if low < -1e-3 or high > 1 + 1e-3 or not np.isfinite(high):
        raise UserError(
            f"{what} are pixels from {low:g} to {high:g}: a network reads bytes (uint8) from 0 to "
            "255, or floats from 0 to 1. Divide them by 255, or save them as uint8."
        )
    return pixels.float()


# Pictures


def _pictures(spec: DataSpec, inputs: Sequence[str], standard_input: bytes) -> Inputs:
    reader = ImageReader.of(spec)
    found, names, parts = Inputs([], torch.empty(0)), [], []
    for name in inputs:
        files = [None] if name == STANDARD_INPUT else find_pictures([name])
        for file in files:
            title = "standard input" if file is None else str(file)
            try:
                content = standard_input if file is None else read_bytes(file)
                pixels, done = _pixels(reader, content, title)
            except UnreadableImageError as error:
                found.problems.append(str(error))
                continue
            found.first = found.first or f"{title}: {done}"
            parts.append(pixels)
            count = len(pixels)
            names += [title] if count == 1 else [f"{title}[{i}]" for i in range(count)]
    if not parts:
        raise UserError(found.problems[0] if found.problems else "There is no picture to read.")
    if len({part.dtype for part in parts}) > 1:
        parts = [part / 255 if part.dtype == torch.uint8 else part for part in parts]
    found.names, found.x = names, torch.cat(parts)
    return found


def read_pictures(spec: DataSpec, pictures: Sequence[str | Path | Image.Image]) -> Tensor:
    """Return pictures (N, channels, height, width) as a network reads them, a file or all of them.

    Args:
        spec: The network's.
        pictures: Files, folders and globs, or pictures of Pillow's.

    Raises:
        UserError: If one cannot be read.
    """
    reader, parts = ImageReader.of(spec), []
    for picture in pictures:
        if isinstance(picture, Image.Image):
            pixels, _ = reader(upright(picture, "The picture"))
            parts.append(torch.from_numpy(pixels)[None])
            continue
        found = _pictures(spec, [str(picture)], b"")
        if found.problems:
            raise UserError(found.problems[0])
        parts.append(found.x)
    return torch.cat(parts)


def _pixels(reader: ImageReader, content: bytes, name: str) -> tuple[Tensor, str]:
    """Return the pictures (N, channels, height, width) of one file."""
    if name.endswith(".gz"):
        try:
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UnreadableImageError(f"'{name}' is no gzip file: {error}.") from error
        if len(content) > MOST_BYTES:
            raise UnreadableImageError(f"'{name}' grows beyond {MOST_BYTES:,} bytes.")
    if content[:3] == IDX_MAGIC:
        return read_array(reader, _idx(content, name), f"'{name}'")
    if content[:6] == b"\x93NUMPY":
        return read_array(reader, _npy(content, name), f"'{name}'")
    pixels, done = reader(decode(content, name))
    return torch.from_numpy(pixels)[None], done


def read_array(reader: ImageReader, array: np.ndarray, name: str) -> tuple[Tensor, str]:
    """Return images in an array as a network reads them.

    Images that have its size and channels are taken as they are: they may be MNIST's own. Others
    are treated as files are.

    Args:
        reader: The network's.
        array: (H, W), (N, H, W), (N, C, H, W) or (N, H, W, C), bytes or floats from 0 to 1.
        name: What they are called in messages.

    Raises:
        UserError: If they are something else.
    """
    if array.dtype.kind not in "uif" or not 2 <= array.ndim <= 4 or not array.size:
        raise UserError(f"{name} holds no images: {array.dtype} of the shape {array.shape}.")
    if array.dtype.kind in "ui" and array.dtype != np.uint8:
        if array.min() < 0 or array.max() > 255:
            raise UserError(f"{name} holds whole numbers up to {array.max()}, not bytes.")
        array = array.astype(np.uint8)
    pixels = check_pixels(torch.from_numpy(array.copy()), name)
    if pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim == 3 and pixels.shape[0] == 3 == reader.shape[0]:  # one RGB image
        pixels = pixels[None]
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.shape[1] not in (1, 3) and pixels.shape[3] in (1, 3):
        pixels = pixels.movedim(3, 1)
    if pixels.shape[1] not in (1, 3):
        raise UserError(f"{name} holds images of {pixels.shape[1]} channels, not 1 or 3.")
    if tuple(pixels.shape[1:]) == tuple(reader.shape):
        return pixels, f"{len(pixels)} images of the network's own size, as they are"
    if pixels.dtype != torch.uint8:
        pixels = (pixels * 255).round().to(torch.uint8)
    read = [reader(as_image(one.numpy())) for one in pixels]
    return torch.from_numpy(np.stack([image for image, _ in read])), read[0][1]


def _idx(content: bytes, name: str) -> np.ndarray:
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", count=dimensions, offset=4)
    if dimensions not in (2, 3, 4) or len(content) != 4 + 4 * dimensions + int(np.prod(shape)):
        raise UnreadableImageError(f"'{name}' is a damaged IDX file, or holds labels.")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _npy(content: bytes, name: str) -> np.ndarray:
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UnreadableImageError(f"'{name}' is a damaged .npy file: {error}.") from error


# Sentences and numbers


def _files(name: str) -> list[Path]:
    path = expand_home(name)
    if path.is_file():
        return [path]
    return sorted(Path(match) for match in glob.glob(str(path)) if Path(match).is_file())  # noqa: PTH207


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{file}' cannot be read as text: {error}.") from error


def _sentences(inputs: Sequence[str], standard_input: bytes) -> list[str]:
    sentences: list[str] = []
    for name in inputs:
        if name == STANDARD_INPUT:
            sentences += standard_input.decode("utf-8", errors="replace").splitlines()
        elif files := _files(name):
            for file in files:
                sentences += _column_of_text(file)
        elif re.search(r"\s", name.strip()):  # no file, and more than a word: it is a sentence
            sentences.append(name)
        else:
            raise UserError(f"There is no file '{name}'.")
    sentences = [sentence for sentence in sentences if sentence.strip()]
    if not sentences:
        raise UserError("There is no sentence to read.")
    return sentences


def _column_of_text(file: Path) -> list[str]:
    if file.suffix.lower() not in (".csv", ".tsv", ".parquet"):
        return _text(file).splitlines()
    frame = _frame(file)
    column = next((c for c in frame if str(c).lower() in ("text", "sentence", "review")), None)
    if column is None and len(frame.columns) > 1:
        raise UserError(f"'{file}' has no column text: {', '.join(map(str, frame.columns))}.")
    return frame[frame.columns[0] if column is None else column].astype(str).tolist()


def _frame(file: Path) -> pd.DataFrame:
    try:
        if file.suffix.lower() == ".parquet":
            return pd.read_parquet(file)
        return pd.read_csv(file, sep="\t" if file.suffix.lower() == ".tsv" else ",")
    except (OSError, ImportError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"'{file}' cannot be read: {error}.") from error


def _numbers(spec: DataSpec, inputs: Sequence[str], standard_input: bytes) -> Inputs:
    digits = spec.preprocessing.get("binary_digits")
    rows: list[list[float]] = []
    for name in inputs:
        if name == STANDARD_INPUT:
            rows += _rows(standard_input.decode("utf-8", errors="replace"), "standard input")
        elif files := _files(name):
            for file in files:
                rows += _rows_of(file)
        else:
            try:
                rows.append([float(part) for part in re.split(r"[,\s;]+", name.strip())])
            except ValueError as error:
                raise UserError(f"'{name}' is no file and no number.") from error
    if not rows:
        raise UserError("There is no number to read.")
    if digits is None:
        width = int(np.prod(spec.input_shape))
        for row in rows:
            if len(row) != width:
                raise UserError(f"The network reads rows of {width} numbers; one has {len(row)}.")
        x = torch.tensor(rows, dtype=torch.float32).reshape(len(rows), *spec.input_shape)
        return Inputs([" ".join(f"{value:g}" for value in row) for row in rows], x)
    values = [value for row in rows for value in row]
    for value in values:
        if value != int(value) or not 0 <= value < 2**digits:
            raise UserError(
                f"The network reads whole numbers from 0 to {2**digits - 1}, not {value:g}."
            )
    whole = torch.tensor(values, dtype=torch.int64)
    x = (whole.unsqueeze(-1) >> torch.arange(digits) & 1).float()
    return Inputs([str(int(value)) for value in values], x)


def _rows_of(file: Path) -> list[list[float]]:
    if file.suffix.lower() == ".npy":
        array = _npy(read_bytes(file), str(file))
        if not array.ndim:
            return [[float(array)]]
        return array.reshape(len(array), -1).astype(float).tolist()
    if file.suffix.lower() == ".parquet":
        return _frame(file).to_numpy(dtype=float).tolist()
    return _rows(_text(file), f"'{file}'")


def _rows(text: str, name: str) -> list[list[float]]:
    """Return rows of numbers; a first row of words is a header."""
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append([float(part) for part in re.split(r"[,;\s]+", line.strip())])
        except ValueError as error:
            if number > 1:
                raise UserError(f"Line {number} of {name} is no row of numbers: {line}") from error
    return rows
