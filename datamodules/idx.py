"""The IDX files in which MNIST and its relatives are published."""

import gzip
import hashlib
import io
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.errors import UserError


def read_idx(path: Path, magic: int, shape: tuple[int, ...]) -> Tensor:
    """Read an IDX file of bytes, plain or gzipped.

    Args:
        path: The file.
        magic: The number it must begin with: 2051 for images, 2049 for labels.
        shape: The shape it must have.

    Returns:
        A uint8 tensor of that shape.

    Raises:
        UserError: If the file is unreadable, truncated, damaged or something else. It is left as
            it is.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            # A byte more than it must have tells that it is another: it may grow without end.
            most = 4 * (1 + len(shape)) + math.prod(shape) + 1
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(most)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"'{path}' cannot be read: {first_line(error)}.") from error
    header = np.frombuffer(content, dtype=">i4", count=min(1 + len(shape), len(content) // 4))
    found = tuple(int(n) for n in header)
    if found[:1] != (magic,):
        raise UserError(
            f"'{path}' is not the IDX file its name says: it begins with {found[:1] or 'nothing'}, "
            f"not {magic}. Replace it with the published file."
        )
    if found[1:] != shape:
        raise UserError(f"'{path}' says it holds {found[1:]} examples and pixels, not {shape}.")
    expected = 4 * len(found) + int(np.prod(shape))
    if len(content) != expected:
        raise UserError(
            f"'{path}' is damaged: {len(content):,} bytes where {expected:,} are expected. "
            "Replace it with the published file."
        )
    pixels = np.frombuffer(content, dtype=np.uint8, offset=4 * len(found)).reshape(shape)
    return torch.from_numpy(pixels.copy())


def md5_of(tensor: Tensor, magic: int) -> str:
    """Return the MD5 of the plain IDX file that holds a tensor: its name among published files."""
    header = np.array([magic, *tensor.shape], dtype=">i4").tobytes()
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(tensor.numpy().data)
    return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
