"""Which checkpoint's weights a run ends with."""

from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch.callbacks import Callback

from zoo.callbacks.checkpoints import KeepBest
from zoo.callbacks.interruption import KeepLast
from zoo.fitted.interval import Interval
from zoo.module import ZooModule
from zoo.run_folder import LAST
from zoo.tasks import Monitor


class Selected(NamedTuple):
    """The checkpoint that was taken, its epoch from 1, and the reason in words."""

    checkpoint: Path
    epoch: int
    reason: str


class Selection:
    """Keeps the best and the last checkpoint of a run, and takes one of them in the end.

    Args:
        folder: Where the checkpoints are written.
        monitor: What the best is the best by; None where nothing is validated.
        interval: The longest time or number of updates between two checkpoints.
        wants_best: The best is taken, if there is one; else the last.
    """

    def __init__(
        self, folder: Path, monitor: Monitor | None, interval: Interval, wants_best: bool
    ) -> None:
        # Where nothing is validated, none is better than the last.
        self.last, self.wants_best = folder / LAST, wants_best and monitor is not None
        self.best = KeepBest(
            folder,
            filename="best",
            monitor=monitor.metric if monitor else None,
            mode=monitor.mode if monitor else "min",
            enable_version_counter=False,
        )
        self.keep_last = KeepLast(self.last, interval)
        self.callbacks: list[Callback] = [self.best, self.keep_last]

    def take(self, model: ZooModule, epochs: int) -> Selected | None:
        """Load the selected weights into the network; None if no checkpoint was written.

        Args:
            model: The network after its training.
            epochs: Epochs trained.
        """
        best = self.best.best_model_path if self.wants_best else ""
        # Also of the last: where nothing was left to train, no average was put in place.
        path = self.last.parent / Path(best).name if best else self.last
        if not path.exists():
            return None
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(checkpoint["state_dict"])
        epoch = checkpoint["epoch"] + 1 if best else epochs
        which = f"best by {self.best.monitor}" if best else "last"
        return Selected(path, epoch, f"epoch {epoch}, the {which}")
