"""The one callback that calls every panel at its moment."""

import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from zoo.callbacks.tensorboard.data import Epoch, evaluating, test_predictions
from zoo.callbacks.tensorboard.registry import Panel
from zoo.module import ZooModule

FLUSH_SECONDS = 5.0  # or TensorBoard would show an epoch up to 2 minutes later


class TensorBoardPanels(Callback):
    """Calls panels, each at its moment, and keeps training safe from them.

    A panel sees the network in evaluation mode without gradients. It can neither change what is
    learned (random numbers are put back) nor end a training (a failure is a warning).

    Args:
        panels: What to call, in order; see `registry.PANELS`.
    """

    def __init__(self, panels: Sequence[Panel]) -> None:
        self._panels: dict[str, list[tuple[Panel, Callable[..., None]]]] = defaultdict(list)
        for panel in panels:
            file, _, name = panel.function.partition(".")
            function = getattr(import_module(f"{__package__}.{file}"), name)
            self._panels[panel.moment].append((panel, function))
        self._is_first_batch = self._is_first_update = True
        self._examples = 0
        self._started = self._validation_started = self._flushed = 0.0

    def _show(self, moment: str, trainer: Trainer, model: LightningModule, data: Any) -> None:
        if not self._panels[moment] or (writer := tensorboard_writer(trainer)) is None:
            return
        model = cast(ZooModule, model)  # panels are for the networks of the zoo alone
        task = "regression" if model.spec.task == "regression" else "classification"
        due = [
            (panel.name, function)
            for panel, function in self._panels[moment]
            if panel.task in (None, task) and (panel.times is None or is_due(trainer, panel.times))
        ]
        if not due:
            return
        with evaluating(model), torch.random.fork_rng(devices=[]):
            for name, function in due:
                with warn_on_failure(name):
                    function(writer, model, data, trainer.global_step)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show what is known before training."""
        self._is_first_batch = True
        self.on_train_epoch_start(trainer, pl_module)  # not called in an epoch that was cut off
        self._show("start", trainer, pl_module, trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._is_first_update = True
        self._examples, self._started = 0, time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch's examples; show the first batch of the run."""
        self._examples += len(batch[1])
        if self._is_first_batch:
            self._is_first_batch = False
            self._show("first_batch", trainer, pl_module, batch)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Show an update, before any clipping: the first of an epoch, and now and then one.

        At every update the gradient's norm alone would cost 4 % of a step of 784-512-512-10.
        """
        if self._is_first_update:
            self._is_first_update = False
            self._show("first_update", trainer, pl_module, optimizer)
        if trainer.global_step % max(trainer.log_every_n_steps, 1) == 0:  # type: ignore[attr-defined]
            self._show("update", trainer, pl_module, optimizer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock: a validation in the middle of an epoch is no training."""
        self._validation_started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the clock go on."""
        self._started += time.perf_counter() - self._validation_started

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch."""
        now = time.perf_counter()
        speed = self._examples * trainer.world_size / max(now - self._started, 1e-9)
        splits = getattr(getattr(trainer, "datamodule", None), "splits", {})
        self._show("epoch", trainer, pl_module, Epoch(trainer.current_epoch + 1, splits, speed))
        writer = tensorboard_writer(trainer)
        if writer is not None and now - self._flushed > FLUSH_SECONDS:
            writer.flush()
            self._flushed = now

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show what has been learned."""
        self._show("train_end", trainer, pl_module, trainer)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the test split and what is predicted for it."""
        if self._panels["test"] and tensorboard_writer(trainer) is not None:
            tested = test_predictions(trainer, cast(ZooModule, pl_module))
            if tested is not None:
                self._show("test", trainer, pl_module, tested)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show that the run came to its end."""
        self._show("end", trainer, pl_module, trainer)

    def on_card(self, trainer: Trainer, card: Any) -> None:
        """Show the card of the weights that the run ends with; `Training` calls this."""
        self._show("card", trainer, trainer.lightning_module, card)
        writer = tensorboard_writer(trainer)
        if writer is not None:
            writer.flush()


def tensorboard_writer(trainer: Trainer) -> SummaryWriter | None:
    """Return the writer of the run's event file, on the first process of a run that has one."""
    if not trainer.is_global_zero:
        return None
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            return logger.experiment
    return None


def is_due(trainer: Trainer, times: int) -> bool:
    """Tell whether this epoch is one of `times` evenly spread over the run, first and last too.

    A run of 5,000 epochs must not be drawn 5,000 times. Where the number of epochs is open, the
    epochs 1, 2, 4, 8, ... are due.
    """
    epoch, count = trainer.current_epoch, trainer.max_epochs
    if count is None or count < 0:
        return (epoch + 1).bit_count() == 1
    if count <= times or epoch == count - 1:
        return True
    # Epoch e is due where the number of spaces passed grows.
    spaces = times - 1
    return epoch == 0 or epoch * spaces // (count - 1) > (epoch - 1) * spaces // (count - 1)


@contextmanager
def warn_on_failure(name: str) -> Iterator[None]:
    """Turn a failure to show something into a warning: hours of training must not be lost by it."""
    try:
        yield
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        warnings.warn(f"TensorBoard lacks {name}: {text}", stacklevel=3)
