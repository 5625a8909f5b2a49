"""Room for the pixels of many pictures: in memory, or in a file that goes with the process."""

import os
import shutil
import tempfile

import numpy as np

from datamodules.errors import UserError

# Pixels that take more than this share of the free memory are kept in a file instead.
SHARE_OF_MEMORY = 0.4


def room_for(shape: tuple[int, int, int, int]) -> np.ndarray:
    """Return room for pictures: in memory, or in a file that goes with the process.

    Args:
        shape: Number of pictures, channels, height and width.

    Returns:
        An array of this shape, uint8, not filled.

    Raises:
        UserError: If neither memory nor the disk have so much.
    """
    needed = int(np.prod(shape, dtype=np.int64))
    if needed <= SHARE_OF_MEMORY * free_memory():
        return np.empty(shape, dtype=np.uint8)
    folder = tempfile.gettempdir()
    if needed > shutil.disk_usage(folder).free:  # a map into a full disk kills the process
        count, *of_one = shape
        raise UserError(
            f"{count:,} pictures of {' x '.join(map(str, of_one))} take {needed / 1e9:.1f} GB, "
            f"more than memory and '{folder}' have: give a smaller --data.size."
        )
    with tempfile.TemporaryFile(prefix="zoo-pictures-") as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def free_memory() -> int:
    """Return how many bytes of memory are free; 4 GB where the system does not say."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 4 * 2**30
