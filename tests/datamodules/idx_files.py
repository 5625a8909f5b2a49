"""Folders of images as the published files are, to take from or to damage."""

import struct
from pathlib import Path

import numpy as np

from datamodules.images import FILES

NAMES = [name for pair in FILES.values() for name in pair]


def idx(magic: int, values: np.ndarray) -> bytes:
    return struct.pack(f">{1 + values.ndim}i", magic, *values.shape) + values.tobytes()


def replace(path: Path, content: bytes) -> Path:
    path.unlink()
    path.write_bytes(content)
    return path


def contents(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
