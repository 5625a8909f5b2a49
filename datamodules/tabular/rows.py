"""Rows of a memory-mapped table, for `TensorBatches`: never the whole table in memory."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.tabular.store import release

# Above this, rows are read in windows and shuffled within them; below, the map stays in memory and
# any row may follow any other. Random reads through a larger map would soon hold all of it: the
# system maps up to 2 MB around every row that is touched.
WINDOWED_FROM = 192 << 20
WINDOW_BYTES = 48 << 20
# Rows next to each other in the file that stay together until their window is shuffled.
RUN = 512
# Rows that are read along although nobody wants them, rather than begin another read.
GAP = 128
BLOCK_NUMBERS = 1 << 22


class Rows:
    """A selection of a mapped table's rows that is indexed like a tensor.

    As fast as from memory, in bounded memory if the table is large: it is then shuffled by runs of
    neighbouring rows first, and within windows of about a thousand runs after that. A file sorted
    by class is well mixed, and no row is read by itself.

    Args:
        table: (N, features) float32 on disk.
        index: Numbers of the selected rows, ascending.
        columns: Numbers of the selected features; None for all.
    """

    dtype = torch.float32

    def __init__(self, table: np.ndarray, index: np.ndarray, columns: np.ndarray | None) -> None:
        self.table, self.mapped = torch.from_numpy(table), table
        self.index = torch.from_numpy(np.ascontiguousarray(index, dtype=np.int32))
        self.columns = None if columns is None else torch.from_numpy(columns)
        width = table.shape[1] if columns is None else len(columns)
        self.shape = torch.Size((len(index), width))
        self.ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Tensor:
        if self.window and isinstance(index, Tensor):
            table, place = self.read(index)
            return table.index_select(0, place)
        rows = self.table[self.index[index].long()]
        return rows if self.columns is None else rows[..., self.columns]

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """Return the rows at these places; `dim` is 0, as for a tensor of examples."""
        rows = self.table.index_select(dim, self.index.index_select(dim, index))
        return rows if self.columns is None else rows.index_select(1, self.columns)

    @property
    def window(self) -> int:
        """How many rows are read at once; 0 if the table may stay in memory."""
        if self.mapped.nbytes <= WINDOWED_FROM:
            return 0
        return max(RUN, WINDOW_BYTES // (4 * self.mapped.shape[1]))

    def shuffled(self, rng: np.random.Generator) -> Tensor:
        """Return all places in a random order in which a window reads runs of neighbours."""
        total = len(self)
        runs = torch.from_numpy(rng.permutation(-(-total // RUN)))
        order = (runs[:, None] * RUN + torch.arange(RUN)).flatten()
        order = order[order < total]
        for start in range(0, total, self.window):
            rng.shuffle(order[start : start + self.window].numpy())
        return order

    def read(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Read rows from the file, not through the map, in runs of neighbours.

        Returns:
            The rows in the order of the file, and the place of each index among them.
        """
        rows, order = self.index[index].long().sort()
        wanted, width = rows.numpy(), self.mapped.shape[1]
        found = np.empty((len(wanted), self.shape[1]), dtype=np.float32)
        starts = [0, *(np.flatnonzero(np.diff(wanted) > GAP) + 1), len(wanted)]
        columns = slice(None) if self.columns is None else self.columns.numpy()
        with Path(self.mapped.filename).open("rb") as file:  # type: ignore[attr-defined]  # a memmap
            for start, stop in itertools.pairwise(starts):
                first, last = int(wanted[start]), int(wanted[stop - 1])
                count = (last - first + 1) * width
                file.seek(4 * first * width)
                run = np.fromfile(file, dtype=np.float32, count=count).reshape(-1, width)
                found[start:stop] = run[wanted[start:stop] - first][:, columns]
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        return torch.from_numpy(found), place


def selected(table: np.ndarray, index: np.ndarray, keep: list[int], mapped: bool) -> Rows | Tensor:
    """Return selected rows and features of a table.

    Args:
        table: (N, features) float32.
        index: Numbers of the rows, ascending.
        keep: Numbers of the features.
        mapped: Whether the table is on disk: its rows are then read when they are wanted.
    """
    everything = keep == list(range(table.shape[1]))
    columns = None if everything else np.asarray(keep, dtype=np.int64)
    if mapped:
        return Rows(table, index, columns)
    return torch.from_numpy(table[index] if columns is None else table[np.ix_(index, columns)])


def blocks(table: np.ndarray, index: np.ndarray, size: int = 1 << 17) -> Iterator[np.ndarray]:
    """Yield selected rows in blocks of at most so many rows, of 16 MB if there are many columns.

    A sum over blocks depends on their size in its last digit: one that fits is one block.
    """
    size = min(size, max(1, BLOCK_NUMBERS // table.shape[1]))
    whole = len(index) == len(table)
    for start in range(0, len(index), size):
        if whole:
            yield np.asarray(table[start : start + size])
        else:
            yield np.asarray(table[index[start : start + size]])
        if table.nbytes > WINDOWED_FROM:
            release(table)


def sample(table: np.ndarray, index: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return at most so many of the selected rows, always the same ones: numbers and content."""
    drawn = np.sort(np.random.default_rng(0).permutation(index)[:most])
    return drawn, np.concatenate(list(blocks(table, drawn, 1 << 13)))
