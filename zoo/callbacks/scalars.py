"""Learning rate, gradient norm, speed; and a page with what belongs together in one chart."""

import time
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.optim import Optimizer

from zoo.callbacks.board import board, is_due
from zoo.module import ZooModule

# TensorBoard draws about 1,000 points of a curve; a run of 5,000 epochs needs no point for each.
MOST_EPOCH_POINTS = 200
FLUSH_SECONDS = 5.0


class OptimizationScalars(Callback):
    """Writes `optimization/learning_rate`, `optimization/gradient_norm` and `speed/...`.

    Learning rate and gradient norm are read every `log_every_n_steps` updates: read at each one,
    the norm alone would cost 4 % of a step of 784-512-512-10.
    """

    def __init__(self) -> None:
        self._examples = 0
        self._started = self._paused = self._flushed = 0.0
        self._pause_began: float | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Lay out the page of custom scalars."""
        writer = board(trainer)
        if writer is not None:
            writer.add_custom_scalars(layout(pl_module))

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: ZooModule, optimizer: Optimizer
    ) -> None:
        """Write learning rate and gradient norm, before any clipping, now and then."""
        step = trainer.global_step
        if step % max(trainer.log_every_n_steps, 1):
            return
        writer = board(trainer)
        if writer is None:
            return
        groups = optimizer.param_groups
        for i, group in enumerate(groups):
            suffix = f"/group_{i}" if len(groups) > 1 else ""
            writer.add_scalar(f"optimization/learning_rate{suffix}", float(group["lr"]), step)
        norm = gradient_norm([p.grad for group in groups for p in group["params"]])
        if norm is not None:
            writer.add_scalar("optimization/gradient_norm", float(norm), step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Start the clock."""
        self._examples, self._paused = 0, 0.0
        self._started = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: ZooModule, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch's examples."""
        self._examples += len(batch[1])

    def on_validation_start(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Stop the clock: a validation in the middle of an epoch is no training."""
        self._pause_began = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Let the clock go on."""
        if self._pause_began is not None:
            self._paused += time.perf_counter() - self._pause_began
            self._pause_began = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Write the speed of the epoch, on all processes together."""
        now = time.perf_counter()
        writer = board(trainer)
        if writer is None:
            return
        if is_due(trainer, MOST_EPOCH_POINTS):
            seconds = max(now - self._started - self._paused, 1e-9)
            speed = self._examples * trainer.world_size / seconds
            writer.add_scalar("speed/examples_per_second", speed, trainer.global_step)
        if now - self._flushed > FLUSH_SECONDS:  # or TensorBoard would show it 2 minutes later
            writer.flush()
            self._flushed = now


def gradient_norm(gradients: list[Tensor | None]) -> Tensor | None:
    """Return the norm of all gradients as one vector; None if there are none."""
    norms = [torch.linalg.vector_norm(g.detach()) for g in gradients if g is not None]
    return torch.linalg.vector_norm(torch.stack(norms)) if norms else None


def layout(pl_module: ZooModule) -> dict[str, dict[str, list[Any]]]:
    """Return TensorBoard's layout: a chart of the loss and of every metric with all splits."""
    names = ["loss", *pl_module.task.metrics(pl_module.spec.num_outputs)]
    charts = {n: ["Multiline", [f"{n}/{s}" for s in ("train", "val", "test")]] for n in names}
    tags = {
        "learning rate": "optimization/learning_rate.*",
        "gradient norm": "optimization/gradient_norm",
        "examples per second": "speed/examples_per_second",
    }
    return {
        "Loss and metrics": charts,
        "Optimization": {title: ["Multiline", [tag]] for title, tag in tags.items()},
    }
