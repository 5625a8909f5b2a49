"""Loss and accuracy of an epoch's batches, as they were while learning, at no cost per step."""

from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from zoo.tasks import Task

# Batches whose losses and outputs are kept to be counted together, and values of outputs.
COUNTED_TOGETHER, COUNTED_VALUES = 64, 2**20


class TrainSums:
    """Sums over the batches of an epoch: losses, right answers, examples.

    A `self.log` in every step would cost 270 microseconds, sums in every step 35; batches that are
    counted together cost about 3.
    """

    def __init__(self) -> None:
        self._sums: tuple[float, ...] | None = None
        self._uncounted: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, loss: Tensor, logits: Tensor, target: Tensor, task: Task) -> None:
        """Take a batch's mean loss, logits (N, outputs) and targets (N, ...)."""
        self._uncounted.append((loss.detach(), logits.detach(), target))
        count = len(self._uncounted)
        if count >= COUNTED_TOGETHER or count * logits.numel() > COUNTED_VALUES:
            self._count(task)

    def _count(self, task: Task) -> None:
        """Add the batches that were kept, in turn."""
        if not self._uncounted:
            return
        losses, logits, targets = zip(*self._uncounted, strict=True)
        self._uncounted = []
        total, right, count = self._sums or (0.0, 0, 0)
        for loss, target in zip(torch.stack(losses).tolist(), targets, strict=True):
            total += loss * len(target)
            count += len(target)
        correct = task.num_correct(torch.cat(logits), torch.cat(targets))
        self._sums = total, right if correct is None else right + int(correct), count

    def of_all(self, task: Task, trainer: Trainer | None) -> tuple[float, ...] | None:
        """Return the sums so far over all processes; None if there was no batch."""
        self._count(task)
        if self._sums is None or trainer is None or trainer.world_size == 1:
            return self._sums
        device = trainer.strategy.root_device
        wide = torch.float32 if device.type == "mps" else torch.float64  # which has no float64
        sums: Any = trainer.strategy.reduce(
            torch.tensor(self._sums, dtype=wide, device=device), reduce_op="sum"
        )
        return tuple(sums.tolist())

    def go_on_from(self, sums: Tensor | None) -> None:
        """Begin with the sums of an epoch that was cut off; with nothing if None."""
        self._sums, self._uncounted = None if sums is None else tuple(sums.tolist()), []


def share_of_processes(trainer: Trainer | None, count: int, device: torch.device) -> float:
    """Return the weight of this process's part of a batch in the mean over all processes.

    Only the last batch of an epoch may be divided unevenly: 17 and 16 examples, say.
    """
    if trainer is None or trainer.world_size == 1 or not trainer.is_last_batch:
        return 1.0
    counted = torch.tensor(float(count), device=device)
    mean: Any = trainer.strategy.reduce(counted, reduce_op="mean")
    return count / float(mean)
