"""Whole batches out of in-memory tensors: the loader behind every datamodule."""

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from datamodules.errors import UserError
from datamodules.plain import misfit
from datamodules.spec import DataSpec

# Batches whose places and targets are taken in one go, where no window says how many are read
# together. For batches of a row, four in an epoch, that makes 8 microseconds for each of 11.
TAKEN_TOGETHER = 64


class TensorBatches:
    """Yields `(x[index], y[index])` for a batch of indices at a time.

    One indexing call makes a whole batch, so no Python runs per example: a batch of 64 images
    costs about 10 microseconds where `DataLoader(TensorDataset(...))` costs about 160. Lightning
    passes an iterable that is not a DataLoader through untouched, so this class shards for itself:
    of `world_size` ranks, rank r takes every `world_size`-th index from r, so that every example is
    read once in an epoch. All ranks have equally many batches, as training in step needs: what one
    rank has more than another joins its last batch.

    The order of an epoch depends on the seed and the number of the epoch alone: a run that resumes
    sees the batches it would have seen. Lightning calls `sampler.set_epoch` before every epoch.

    Args:
        x: Inputs: a tensor, several of them in a tuple, list or dictionary, or anything with a
            length and an `index_select`. What is too large to be read in any order says with
            `window` how many examples it reads at once, with `shuffled(rng)` an order that suits
            it, and with `read(index)` it returns examples and the place of each index among them.
        y: Targets, of the same length.
        batch_size: Examples in a batch, on each rank.
        shuffle: Draw a new order every epoch.
        replacement: Draw examples with replacement instead of permuting them. Implies `shuffle`.
        join_single: Let a last batch of one example join the batch before it: batch normalization
            cannot train on one example.
        seed: Seed of the order.
        rank: Which shard this process reads.
        world_size: How many shards there are.

    Attributes:
        spec: What a network must know of the data, where a datamodule made these; else None.
        running: The iterator that was made last; who takes from it too shares its batches.
    """

    def __init__(
        self,
        x: Any,
        y: Tensor,
        batch_size: int,
        *,
        shuffle: bool = False,
        replacement: bool = False,
        join_single: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        for part in parts_of(x):
            if len(part) != len(y):
                raise ValueError(f"{len(part)} inputs but {len(y)} targets")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not one of {world_size}")
        self.x, self.y = x, y
        self.spec: DataSpec | None = None
        self.running: Iterator[tuple[Any, Tensor]] = iter(())
        self.batch_size = batch_size
        self.shuffle = shuffle or replacement
        self.replacement = replacement
        self.join_single = join_single
        self.seed = seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self._position = 0  # batches of this epoch already read
        self._resume_at: dict[str, int] | None = None

    #: Lightning asks a loader with a sampler for this too.
    batch_sampler = None

    @property
    def sampler(self) -> "TensorBatches":
        """Itself: where Lightning looks for `set_epoch`."""
        return self

    @property
    def window(self) -> int:
        """How many examples are read at once; 0 if all of them are at hand."""
        return getattr(self.x, "window", 0)

    @property
    def num_examples(self) -> int:
        """How many examples this rank reads in an epoch."""
        return len(range(self.rank, len(self.y), self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next epoch."""
        if epoch != self.epoch:
            self._position = 0
        self.epoch = epoch

    def indices(self) -> Tensor:
        """Return this rank's example indices of the current epoch, in order, as int64."""
        total = len(self.y)
        rng = np.random.default_rng(derived_seed(self.seed, "order", self.epoch))
        if self.replacement:
            order = torch.from_numpy(rng.integers(total, size=total))
        elif self.shuffle and self.window:
            order = self.x.shuffled(rng)
        elif self.shuffle:
            order = torch.from_numpy(rng.permutation(total))
        else:
            order = torch.arange(total)
        return order if self.world_size == 1 else order[self.rank :: self.world_size]

    def __len__(self) -> int:
        """Return the number of batches in an epoch, the same on every rank."""
        fewest = len(self.y) // self.world_size  # that a rank reads
        full, rest = divmod(fewest, self.batch_size)
        if rest == 1 and self.join_single and full and self.batch_size > 1:
            return full
        return full + (rest > 0)

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        self.running = self._read()
        return self.running

    def _read(self) -> Iterator[tuple[Any, Tensor]]:
        count, size = len(self), self.batch_size
        # Only the epoch that was cut off goes on where it was; a full one is over.
        resumed, self._resume_at = self._resume_at, None
        first = resumed["position"] % count if resumed and resumed["epoch"] == self.epoch else 0
        indices = self.indices()
        # How many batches are read together; a run that goes on keeps to the same windows.
        window = self.window
        together = max(1, window // (size * self.world_size)) if window else TAKEN_TOGETHER
        bounds = [first, *range((first // together + 1) * together, count, together), count]
        for start, stop in itertools.pairwise(bounds):
            wanted = indices[start * size : len(indices) if stop == count else stop * size]
            x, places = self.x.read(wanted) if window else (self.x, wanted)
            sizes = [size] * (stop - start)
            sizes[-1] += len(wanted) - sum(sizes)
            parts = zip(places.split(sizes), take(self.y, wanted).split(sizes), strict=True)
            for self._position, (here, y) in enumerate(parts, start + 1):
                # Inputs are copied for each batch: a sum may depend on where in memory they begin.
                yield take(x, here), y

    def state_dict(self) -> dict[str, Any]:
        """Return how many batches of the current epoch have been read."""
        return {"epoch": self.epoch, "position": self._position}

    def go_back_to(self, position: int) -> None:
        """Say that of this epoch's batches only so many have been read: another was not used."""
        self._position = position

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the epoch of `state` at its position, so that no batch is read twice.

        Raises:
            UserError: If it is no state of such a loader.
        """
        if problem := misfit(state, Place, "the place in the data"):
            raise UserError(f"The checkpoint is damaged, or was written by another run: {problem}.")
        self._resume_at = {"epoch": state["epoch"], "position": state["position"]}


class Place(TypedDict):
    """How far an epoch had come."""

    epoch: int
    position: int


def take(examples: Any, index: Tensor) -> Any:
    """Return the examples at these indices, of each of several tensors if there are several.

    `index_select` copies whole examples: 64 images in 5 microseconds, where `examples[index]` took
    255 on one thread and 900 and more on two busy cores (torch 2.15).
    """
    if isinstance(examples, dict):
        return {name: take(part, index) for name, part in examples.items()}
    if isinstance(examples, (tuple, list)):
        return type(examples)(take(part, index) for part in examples)
    return examples.index_select(0, index)


def parts_of(examples: Any) -> list[Any]:
    """Return the tensors that examples are made of: one, or several in a collection."""
    if isinstance(examples, dict):
        examples = list(examples.values())
    if isinstance(examples, (tuple, list)):
        return [part for several in examples for part in parts_of(several)]
    return [examples]


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed for one purpose, independent of other seeds and of other purposes.

    Sums are not: with `seed + epoch` the second epoch of seed 0 is the first of seed 1.

    Args:
        seed: The seed that the user chose.
        purpose: What is drawn, such as `"order", epoch`.

    Returns:
        64 bits; torch's generator on the CPU uses the lower 32 of them.
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "little")
