"""What a notebook shows of a training: one bar, and a curve that grows."""

import time
from typing import Any

from IPython.display import HTML, display
from lightning.pytorch import Callback, LightningModule, Trainer

WIDTH, HEIGHT = 420, 120  # of the curve, in pixels
COLORS = {"loss/train": "#1f77b4", "loss/val": "#ff7f0e"}
# Seconds between two drawings inside an epoch: each is a message to the browser.
PAUSE = 0.3


class Curve(Callback):
    """A bar for the whole training, the loss of each epoch as a curve, and the last metrics.

    They are drawn again in the same place, so that a notebook keeps the last state alone.
    """

    def __init__(self) -> None:
        self._losses: dict[str, list[tuple[int, float]]] = {name: [] for name in COLORS}
        self._metrics = ""
        self._validated = False
        self._display: Any = None
        self._drawn = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show an empty curve."""
        if trainer.is_global_zero:
            self._display = display(HTML(self._html(trainer)), display_id=True)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Move the bar now and then."""
        if time.monotonic() - self._drawn > PAUSE:
            self._draw(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note that there is a new point of the validation."""
        self._validated = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch before: its metrics are known only now."""
        self._add(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the last epoch."""
        self._add(trainer, at_once=True)

    def _add(self, trainer: Trainer, at_once: bool = False) -> None:
        finished = trainer.current_epoch
        shown = {k: float(v) for k, v in sorted(trainer.callback_metrics.items())}
        for name, points in self._losses.items():
            is_new = self._validated or not name.endswith("/val")
            if is_new and name in shown and (not points or points[-1][0] < finished):
                points.append((finished, shown[name]))
        self._validated = False
        self._metrics = "  ".join(f"{k} {v:.4f}" for k, v in shown.items() if "/test" not in k)
        if at_once or time.monotonic() - self._drawn > PAUSE:
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        self._drawn = time.monotonic()
        if self._display is not None:
            self._display.update(HTML(self._html(trainer)))

    def _html(self, trainer: Trainer) -> str:
        epochs = trainer.max_epochs if (trainer.max_epochs or -1) > 0 else 0
        done = min(1.0, self._epochs_done(trainer) / epochs) if epochs else 0.0
        of_all = f" of {epochs}" if epochs else ""
        legend = "  ".join(
            f'<span style="color:{color}">{name}</span>' for name, color in COLORS.items()
        )
        return (
            f'<progress value="{done:.3f}" max="1" style="width:{WIDTH}px"></progress> '
            f"epoch {trainer.current_epoch}{of_all}<br>{self._svg()}<br>{legend}"
            f"<pre>{self._metrics}</pre>"
        )

    @staticmethod
    def _epochs_done(trainer: Trainer) -> float:
        batches = trainer.num_training_batches
        if trainer.current_epoch == trainer.max_epochs or batches in (0, float("inf")):
            return float(trainer.current_epoch)
        seen = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        return trainer.current_epoch + min(1.0, seen / batches)

    def _svg(self) -> str:
        values = [value for points in self._losses.values() for _, value in points]
        lines = ""
        if values:
            low, high = min(values), max(values)
            last = max(epoch for points in self._losses.values() for epoch, _ in points)
            for name, points in self._losses.items():
                at = " ".join(
                    f"{10 + (WIDTH - 60) * (epoch - 1) / max(last - 1, 1):.0f},"
                    f"{10 + (HEIGHT - 20) * (high - value) / ((high - low) or 1):.0f}"
                    for epoch, value in points
                )
                lines += f'<polyline points="{at}" fill="none" stroke="{COLORS[name]}"/>'
            for y, value in ((14, high), (HEIGHT - 6, low)):
                lines += f'<text x="{WIDTH - 44}" y="{y}" font-size="10">{value:.3g}</text>'
        style = "border:1px solid #ccc;background:white"
        return f'<svg width="{WIDTH}" height="{HEIGHT}" style="{style}">{lines}</svg>'
