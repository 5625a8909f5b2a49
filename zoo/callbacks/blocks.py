"""Several mini-batches for each of Lightning's steps, and several epochs of a few rows at once.

A step of Lightning's costs some 250 microseconds beside its mini-batch, an epoch 5 milliseconds:
more than a small network learns in. So most batches go round it, in the plain loop of this file.
What they learn is the same, bit for bit, and so is what callbacks, curves and checkpoints see:

    batch of Lightning's | batches of ours ... | batch of Lightning's, then validation or the end

Wherever Lightning does more than to learn a batch (the first and last batch of an epoch, a
validation, the last step) the batch is Lightning's. Where something in a run could notice the
difference, `fits` says so, and all batches are Lightning's.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from itertools import islice
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from torch.optim.lr_scheduler import ReduceLROnPlateau

from datamodules.base import TensorDataModule
from datamodules.batches import TensorBatches
from zoo.callbacks.interruption import KeepLast
from zoo.callbacks.progress import EpochLines
from zoo.callbacks.tensorboard.callback import TensorBoardPanels
from zoo.callbacks.tensorboard.events import EventLogger
from zoo.module import ZooModule

# Longest times without Lightning, which looks for signals and writes checkpoints in between. With
# 50 ms the steps of fashion_ffnn (1.7 ms) come in blocks of 30.
BLOCK_SECONDS, SPAN_SECONDS = 0.05, 1.0
# Epochs whose metrics are counted and written together.
REPORTED_TOGETHER = 16

# Whose loops count as this file counts. Another version gets single batches, until
# `tests/zoo/callbacks/test_blocks.py` has passed with it.
KNOWN_LIGHTNING = ("2.6.",)

BATCH_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
EPOCH_HOOKS = ("on_train_epoch_start", "on_train_epoch_end")
MODULE_HOOKS = (
    *("training_step", "backward", "optimizer_step", "optimizer_zero_grad"),
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"),
)
DATA_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class BlockLogger(EventLogger):
    """Writes what Lightning logs at the update that it belongs to.

    Lightning counts its own steps for that.

    Attributes:
        ahead: Updates that Lightning did not count as steps.
    """

    ahead = 0

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Write metrics, further on by what Lightning did not see.

        They make one event: TensorBoard's writer takes 60 microseconds for each.
        """
        step = None if step is None else step + self.ahead
        if (writer := self.experiment.file_writer) is None:  # closed: makes a new one
            return super().log_metrics(metrics, step)
        values = [Summary.Value(tag=tag, simple_value=float(v)) for tag, v in metrics.items()]
        return writer.add_summary(Summary(value=values), step)


class Blocks(Callback):
    """Learns most batches in a plain loop, where nobody can notice.

    It stands before the callbacks that look at batches, and behind the one that prints epochs.
    """

    def __init__(self) -> None:
        self._blocks = self._spans = False
        self._ahead = 0  # batches that Lightning did not count
        self._learned: list[tuple[int, int]] = []  # epochs to report, and their last updates
        self._epoch_started, self._epoch_seconds = 0.0, float("inf")

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Find out what this training allows."""
        self._blocks = fits(trainer, BATCH_HOOKS)
        self._spans = (
            self._blocks
            and fits(trainer, EPOCH_HOOKS)
            and trainer.max_steps == -1
            and not trainer.reload_dataloaders_every_n_epochs
            and pl_module.learning.unfreeze_at_epoch is None
        )
        self._epoch_seconds = float("inf")
        # Checkpoints are written, and weights looked at for that, between blocks.
        batches = [c for c in trainer.callbacks if not isinstance(c, (Blocks, Checkpoint))]
        epochs = [c for c in trainer.callbacks if isinstance(c, TensorBoardPanels)]
        self._hooks = {
            hook: [getattr(c, hook) for c in seeing if _overrides(c, Callback, hook)]
            for hooks, seeing in ((BATCH_HOOKS, batches), (EPOCH_HOOKS, epochs))
            for hook in hooks
        }

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        """Count from the checkpoint on."""
        self._count(trainer, -self._ahead)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Let the checkpoint count as one of a training in which all batches were Lightning's."""
        state = checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]
        state["_batches_that_stepped"] += self._ahead

    def _count(self, trainer: Any, batches: int) -> None:
        """Count batches that Lightning does not."""
        optimization = trainer.fit_loop.epoch_loop.automatic_optimization
        optimization.optim_progress.optimizer.zero_grad.increment_by(max(batches, 0))
        self._ahead += batches
        for logger in _loggers(trainer):
            logger.ahead = self._ahead

    # Blocks of batches

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Say which batch is the last of its epoch: Lightning counts those that it fetches."""
        progress = trainer.fit_loop.epoch_loop.batch_progress
        if self._blocks and progress.current.ready == trainer.num_training_batches:
            progress.is_last_batch = True

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Learn what comes before the next batch that has to be Lightning's."""
        if not self._blocks or trainer.should_stop:
            return
        loop = trainer.fit_loop.epoch_loop
        progress = loop.batch_progress
        current, total = progress.current.ready, progress.total.ready
        seen = total if trainer.check_val_every_n_epoch is None else current
        rooms = [trainer.num_training_batches - current]
        if isinstance(trainer.val_check_batch, int):
            rooms.append(-seen % trainer.val_check_batch)
        if trainer.max_steps != -1:
            rooms.append(trainer.max_steps - trainer.global_step)
        room = min(rooms) - 1
        if room < 1:
            return
        until = time.monotonic() + BLOCK_SECONDS
        learner = Learner(trainer, self._hooks)
        for batch in islice(trainer.train_dataloader.running, room):
            progress.increment_ready()
            progress.increment_started()
            learner.learn(batch, loop.batch_idx)
            progress.increment_processed()
            progress.increment_completed()
            self._count(trainer, 1)
            if time.monotonic() > until:
                break

    # Spans of epochs

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Learn short epochs, up to one that has to be Lightning's."""
        started = time.monotonic()
        if self._spans and self._epoch_seconds < SPAN_SECONDS / 10:
            learner = Learner(trainer, self._hooks)
            try:
                while self._may_skip(trainer) and time.monotonic() - started < SPAN_SECONDS:
                    self._learn_epoch(trainer, pl_module, learner)
                    trainer.train_dataloader.set_epoch(trainer.current_epoch)
                    if len(self._learned) == REPORTED_TOGETHER:
                        self._report(trainer, pl_module)
            finally:
                self._report(trainer, pl_module)
        self._epoch_started = time.thread_time()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Remember how long an epoch takes."""
        self._epoch_seconds = time.thread_time() - self._epoch_started

    def _may_skip(self, trainer: Any) -> bool:
        """Return whether Lightning would do nothing in this epoch but learn its batches."""
        number, every = trainer.current_epoch + 1, trainer.check_val_every_n_epoch
        is_last = number >= trainer.max_epochs > 0
        return every not in (None, 1) and bool(number % every) and not is_last

    def _learn_epoch(self, trainer: Any, model: ZooModule, learner: "Learner") -> None:
        loop, loader = trainer.fit_loop, trainer.train_dataloader
        for hook in self._hooks["on_train_epoch_start"]:
            hook(trainer, model)
        count, total = trainer.num_training_batches, loop.epoch_loop.batch_progress.total
        total.started += count  # so that nobody saves in between
        for index, batch in enumerate(islice(loader, count)):
            learner.learn(batch, index)
        self._count(trainer, count)
        learner.move_schedules("epoch", trainer.current_epoch)
        total.started -= count
        total.increment_by(count)
        for hook in self._hooks["on_train_epoch_end"]:
            hook(trainer, model)
        model.train_sums.end_epoch()
        self._learned.append((trainer.current_epoch, trainer.global_step - 1))
        loop.epoch_progress.increment_by(1)

    def _report(self, trainer: Any, model: ZooModule) -> None:
        """Write and print what was learned in the epochs of which that has not been done."""
        learned, self._learned = self._learned, []
        known = trainer.callback_metrics if learned else {}
        for (epoch, step), metrics in zip(
            learned, model.train_sums.of_ended(model.task), strict=True
        ):
            for logger in _loggers(trainer):
                logger.log_metrics({**metrics, "epoch": epoch}, step - logger.ahead)
            for callback in trainer.callbacks:
                if isinstance(callback, EpochLines):
                    callback.print_line(
                        trainer, {**known, **metrics}, trainer.current_epoch - epoch - 1
                    )


class Learner:
    """Learns a batch as Lightning does, without what it does around that."""

    def __init__(self, trainer: Any, hooks: dict[str, list[Callable[..., Any]]]) -> None:
        self.trainer, self.model, self.hooks = trainer, trainer.lightning_module, hooks
        self.optimizer = trainer.optimizers[0]
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.context = trainer.precision_plugin.train_step_context
        if type(trainer.precision_plugin) is Precision:  # whose context does nothing
            self.context = nullcontext
        self.convert = trainer.precision_plugin.convert_input
        self.augment = trainer.datamodule.augment
        self.progress = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer
        self.clips = bool(trainer.gradient_clip_val)
        self.moves = bool(trainer.lr_scheduler_configs)

    def learn(self, batch: Any, batch_idx: int) -> None:
        """Update the weights for a batch."""
        trainer, model, optimizer, hooks = self.trainer, self.model, self.optimizer, self.hooks
        batch = self.convert(batch)
        if self.augment is not None:
            batch = trainer.datamodule.on_after_batch_transfer(batch, 0)
        for hook in hooks["on_train_batch_start"]:
            hook(trainer, model, batch, batch_idx)
        with self.context():
            loss = model.training_step(batch, batch_idx)
        for parameter in self.parameters:  # `zero_grad` tells torch's profiler too: 7 microseconds
            parameter.grad = None
        for hook in hooks["on_before_backward"]:
            hook(trainer, model, loss)
        loss.backward()
        for hook in hooks["on_before_optimizer_step"]:
            hook(trainer, model, optimizer)
        if self.clips:
            model.configure_gradient_clipping(
                optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm
            )
        optimizer.step()
        self.progress.step.increment_by(1)
        if self.moves:
            self.move_schedules("step", batch_idx)

    def move_schedules(self, interval: str, index: int) -> None:
        """Move the schedules that are due after this batch or epoch."""
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == interval and (index + 1) % config.frequency == 0:
                self.model.lr_scheduler_step(config.scheduler, None)
                self.trainer.fit_loop.epoch_loop.scheduler_progress.increment_by(1)


def fits(trainer: Any, hooks: Iterable[str]) -> bool:
    """Return whether nothing in this training can tell our batches from Lightning's.

    That is so with a version of Lightning that was tried, on one CPU, with our own callbacks
    (others must have none of `hooks`), data and training step, and an optimizer of torch's that
    asks once for each update's gradients. Who wants a checkpoint after every so many updates gets
    it there.
    """
    model, data, loader = trainer.lightning_module, trainer.datamodule, trainer.train_dataloader
    if not isinstance(model, ZooModule) or not isinstance(data, TensorDataModule):
        return False
    foreign = [c for c in trainer.callbacks if not type(c).__module__.startswith("zoo.")]
    optimizer = trainer.optimizers[0]
    return (
        lightning.__version__.startswith(KNOWN_LIGHTNING)
        and type(loader) is TensorBatches
        and type(trainer.strategy) is SingleDeviceStrategy
        and model.device.type == "cpu"
        and trainer.precision in ("32-true", "bf16-mixed")
        and trainer.accumulate_grad_batches == 1
        and trainer.fast_dev_run is False
        and isinstance(trainer.profiler, PassThroughProfiler)
        and all(isinstance(logger, BlockLogger) for logger in trainer.loggers)
        and not any(_overrides(c, Callback, hook) for c in foreign for hook in hooks)
        and not any(isinstance(c, KeepLast) and c.interval.steps for c in trainer.callbacks)
        and not any(_overrides(model, ZooModule, hook) for hook in (*MODULE_HOOKS, *hooks))
        and not any(_overrides(data, TensorDataModule, hook) for hook in DATA_HOOKS)
        and type(optimizer).__module__.startswith("torch.optim.")
        and not isinstance(optimizer, torch.optim.LBFGS)
        and not any(
            isinstance(c.scheduler, ReduceLROnPlateau) for c in trainer.lr_scheduler_configs
        )
    )


def _overrides(one: object, base: type, name: str) -> bool:
    """Return whether a method of an object is another than that of a class."""
    return getattr(one, name).__func__ is not getattr(base, name)


def _loggers(trainer: Any) -> list[BlockLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, BlockLogger)]
