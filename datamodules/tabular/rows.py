"""Rows of a memory-mapped table: read batch by batch, without holding the table in memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.batches import TensorBatches
from datamodules.tabular.store import release

# Above this, rows are shuffled within windows, so that a window's pages are read once and given
# back; below, the map stays in memory and any row may follow any other.
WINDOWED_FROM = 192 << 20
# Rows next to each other in the file that stay together until the window is shuffled.
RUN = 512
WINDOW_BYTES = 48 << 20


class Rows:
    """A selection of a mapped table's rows that is indexed like a tensor.

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
        rows = self.table[self.index[index].long()]
        return rows if self.columns is None else rows[..., self.columns]

    @property
    def windowed(self) -> bool:
        """Whether the table is too large to stay in memory."""
        return self.mapped.nbytes > WINDOWED_FROM

    def release(self) -> None:
        """Give the pages read so far back to the system."""
        release(self.mapped)


class RowBatches(TensorBatches):
    """TensorBatches over `Rows`: as fast as from memory, in bounded memory if the table is large.

    A large table is shuffled by runs of neighbouring rows first, and within windows of many runs
    after that: every epoch reads each page once and still mixes rows from all over the file.
    """

    x: Rows

    def indices(self) -> Tensor:
        """Return this rank's example indices of the current epoch, in order, as int64."""
        if not (self.x.windowed and self.shuffle) or self.replacement:
            return super().indices()
        total = len(self.x)
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        runs = torch.randperm(-(-total // RUN), generator=generator)
        order = (runs[:, None] * RUN + torch.arange(RUN)).flatten()
        order = order[order < total]
        size = self._window
        for start in range(0, total, size):
            window = order[start : start + size]
            window.copy_(window[torch.randperm(len(window), generator=generator)])
        if self.pad and (missing := -total % self.world_size):
            order = torch.cat([order, order.repeat(-(-missing // total))[:missing]])
        return order[self.rank :: self.world_size]

    @property
    def _window(self) -> int:
        row_bytes = 4 * self.x.mapped.shape[1]
        return max(RUN, WINDOW_BYTES // row_bytes)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        first, self._position = self._position, 0
        order, rows = self.indices(), self.x
        count = len(self)
        every = max(1, self._window // (self.batch_size * self.world_size))
        for position in range(first, count):
            self._position = (position + 1) % count
            chosen = order[position * self.batch_size : (position + 1) * self.batch_size]
            batch = rows.table.index_select(0, rows.index.index_select(0, chosen))
            if rows.columns is not None:
                batch = batch.index_select(1, rows.columns)
            yield batch, self.y.index_select(0, chosen)
            if rows.windowed and (position + 1) % every == 0:
                rows.release()
        if rows.windowed:
            rows.release()


def blocks(table: np.ndarray, index: np.ndarray, size: int = 1 << 17) -> Iterator[np.ndarray]:
    """Yield selected rows in blocks that fit into memory."""
    whole = len(index) == len(table)
    for start in range(0, len(index), size):
        if whole:
            yield np.asarray(table[start : start + size])
        else:
            yield np.asarray(table[index[start : start + size]])
        if table.nbytes > WINDOWED_FROM:
            release(table)
