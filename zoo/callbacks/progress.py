"""A progress bar with the training loss and the validation metric, at no cost per step."""

import sys
from collections.abc import Mapping
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from zoo.network import Network

# tqdm costs 133 microseconds a step when it draws every one of them, 20 when every twentieth.
REFRESH_RATE = 20


class Progress(TQDMProgressBar):
    """Lightning's tqdm bar, drawn every twentieth step, with loss and validation metric.

    The loss is read off the last step's tensor only when the bar is drawn; `self.log(...,
    prog_bar=True)` would synchronise with the device at every step.
    """

    def __init__(self) -> None:
        super().__init__(refresh_rate=REFRESH_RATE)
        self._loss: Any = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember the step's loss, and let the bar decide whether to draw.

        It draws at every twentieth step; not each of them is there to see (`blocks.py`).
        """
        self._loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        passed = (batch_idx + 1) // self.refresh_rate * self.refresh_rate
        is_last = batch_idx + 1 == trainer.num_training_batches
        if self.train_progress_bar.n < passed and not is_last:
            batch_idx = passed - 1
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return what stands behind the bar."""
        shown: dict[str, Any] = {}
        if self._loss is not None:
            shown["loss"] = f"{float(self._loss):.3f}"
        monitor = cast(Network, pl_module).task.monitor.metric
        if monitor in trainer.callback_metrics:
            shown[monitor] = f"{float(trainer.callback_metrics[monitor]):.4f}"
        return shown

    def init_validation_tqdm(self) -> Any:
        """Show no bar for a validation that takes milliseconds."""
        return Tqdm(disable=True)

    def init_test_tqdm(self) -> Any:
        """Show no bar for a test that takes milliseconds."""
        return Tqdm(disable=True)


class EpochLines(Callback):
    """One line for each epoch: what stands in a log file in the bar's place.

    An epoch's metrics are known only after its last hook, so its line is printed when the next one
    begins or the training ends.
    """

    def __init__(self) -> None:
        self._printed, self._validated = 0, False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note that this epoch has metrics of the validation."""
        self._validated = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin where the training begins: not with its first epoch if it goes on."""
        self._printed = trainer.current_epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the epoch before."""
        self._print_finished(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the last epoch."""
        self._print_finished(trainer)

    def _print_finished(self, trainer: Trainer) -> None:
        if trainer.current_epoch > self._printed:
            self.print_line(trainer)

    def print_line(
        self, trainer: Trainer, metrics: Mapping[str, float] | None = None, before: int = 0
    ) -> None:
        """Print the line of the epoch before this one, or of one before that.

        Args:
            trainer: The trainer.
            metrics: The epoch's metrics; those that the trainer knows if None.
            before: How many epochs before.
        """
        self._printed = finished = trainer.current_epoch - before
        if not trainer.is_global_zero:
            return
        known: Mapping[str, Any] = trainer.callback_metrics if metrics is None else metrics
        # The trainer remembers those of earlier epochs.
        others, self._validated = ("/test",) if self._validated else ("/test", "/val"), False
        shown = {k: float(v) for k, v in sorted(known.items()) if not k.endswith(others)}
        line = "  ".join(f"{name} {value:.4f}" for name, value in shown.items())
        of_all = f"/{trainer.max_epochs}" if (trainer.max_epochs or -1) > 0 else ""
        print(f"epoch {finished}{of_all}  {line}", flush=True)


def progress() -> Callback:
    """Return a bar for a terminal, a bar and a curve for a notebook, lines for anything else."""
    if "ipykernel" in sys.modules:
        from zoo.callbacks.notebook import Curve

        return Curve()
    return Progress() if sys.stderr.isatty() else EpochLines()
