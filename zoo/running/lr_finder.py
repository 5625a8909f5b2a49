"""The learning rate range test: which rate would suit, without touching the run that follows."""

import copy
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from matplotlib.figure import Figure

from zoo.callbacks.tensorboard.callback import tensorboard_writer
from zoo.callbacks.tensorboard.figures import GREY, new_figure, plain_axes
from zoo.errors import UserError
from zoo.running.training import Training

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 120
SMOOTHING = 0.9
WINDOW = 15  # updates: a power of ten of the rate
# A loss of so many times the least one means that the rates have become too high.
DIVERGED = 4.0
PICTURE = "lr_find.png"


@dataclass
class Curve:
    """The loss at growing learning rates.

    Attributes:
        rates: The rates.
        losses: The training loss at each.
    """

    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    @property
    def smoothed(self) -> np.ndarray:
        """The losses as an exponential average, without its bias at the beginning."""
        average, values = 0.0, []
        for step, loss in enumerate(self.losses, 1):
            average = SMOOTHING * average + (1 - SMOOTHING) * loss
            values.append(average / (1 - SMOOTHING**step))
        return np.array(values)

    def suggestion(self) -> float | None:
        """Return the rate at which the loss falls fastest; None if it never falls."""
        if len(self.rates) < 4 * WINDOW:
            return None
        # Centred means: what single batches differ by is no slope, nor is how the average starts.
        losses = np.convolve(self.losses, np.ones(WINDOW) / WINDOW, mode="valid")
        rates = np.log(self.rates)[WINDOW // 2 :][: len(losses)]
        least = int(losses.argmin())
        slopes = np.gradient(losses, rates)[: least + 1]
        if least < WINDOW or slopes.min() >= 0:
            return None
        return float(f"{np.exp(rates[int(slopes.argmin())]):.2g}")

    def figure(self) -> Figure:
        """Draw the curve, with the suggestion."""
        figure = new_figure(6.4, 4.0)
        axes = figure.subplots()
        axes.plot(self.rates, self.losses, color=GREY, alpha=0.4, linewidth=1)
        axes.plot(self.rates, self.smoothed, color="#1a73e8", linewidth=2)
        axes.set_xscale("log")
        low, high = float(self.smoothed.min()), float(self.smoothed[0])
        axes.set_ylim(low - 0.1 * (high - low + 1e-9), high + (high - low) + 1e-9)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("loss/train")
        if (rate := self.suggestion()) is not None:
            axes.axvline(rate, color="#d93025", linestyle="--", linewidth=1)
            axes.set_title(f"the loss falls fastest at {rate:g}", fontsize=11)
        plain_axes(axes)
        return figure


class _RisingRate(Callback):
    """Raises the rate with every update, the groups' rates in proportion, until the loss does."""

    def __init__(self) -> None:
        self.curve = Curve()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.strategy.lr_scheduler_configs.clear()  # a schedule would move the rates, too
        groups = trainer.optimizers[0].param_groups
        top = max(float(group["lr"]) for group in groups) or 1.0
        self._shares = [float(group["lr"]) / top for group in groups]

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._rate = LOWEST * (HIGHEST / LOWEST) ** (trainer.global_step / (STEPS - 1))
        groups = trainer.optimizers[0].param_groups
        for group, share in zip(groups, self._shares, strict=True):
            group["lr"] = self._rate * share

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        loss = float(outputs["loss"])
        if not math.isfinite(loss):
            trainer.should_stop = True
            return
        self.curve.rates.append(self._rate)
        self.curve.losses.append(loss)
        smoothed = self.curve.smoothed
        if len(smoothed) > 10 and smoothed[-1] > DIVERGED * abs(smoothed.min()):
            trainer.should_stop = True


def find_learning_rate(training: Training) -> Curve:
    """Train a copy of a network with growing rates, and write the curve beside the run.

    The network, the random numbers and the order of the data stay as they were.

    Args:
        training: The run that is to follow.

    Raises:
        UserError: If it has no optimizer's rate to find: several processes, or a trial run.
    """
    if training.is_trial or training.trainer.world_size > 1:
        raise UserError("--lr_find needs one process, and no --trainer.fast_dev_run.")
    config, rising = training.settings.config.trainer, _RisingRate()
    # Not the run's own trainer, whose loggers, checkpoints and counters are for the run.
    trainer = pl.Trainer(
        accelerator=config.accelerator,
        devices=1,
        precision=config.precision,
        gradient_clip_val=config.gradient_clip_val,
        max_steps=STEPS,
        max_epochs=-1,
        limit_train_batches=config.limit_train_batches,
        limit_val_batches=0,
        callbacks=[rising],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with isolate_rng(), training.threads():
        trainer.fit(copy.deepcopy(training.model), datamodule=training.data)
    curve = rising.curve
    if len(curve.rates) >= 2 and training.folder is not None:
        figure = curve.figure()
        figure.savefig(training.folder / PICTURE)
        writer = tensorboard_writer(training.trainer)
        if writer is not None:
            for step, loss in enumerate(curve.smoothed):
                writer.add_scalar("lr_find/loss", loss, step)
                writer.add_scalar("lr_find/learning_rate", curve.rates[step], step)
            writer.add_figure("lr_find", figure)
    return curve


def described(curve: Curve, folder: Path | None) -> str:
    """Return what was found, in words."""
    rate = curve.suggestion()
    picture = f" | {folder / PICTURE}" if folder else ""
    if rate is None:
        return (
            f"--lr_find: the loss falls at no rate from {LOWEST:g} to {HIGHEST:g}: is anything "
            f"learning? `--overfit 1` looks for the reason.{picture}"
        )
    return f"--lr_find: the loss falls fastest at a rate of {rate:g}: --lr {rate:g}{picture}"
