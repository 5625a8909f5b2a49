"""A training that ends when its weights no longer get better."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from zoo.callbacks.checkpoints import KeepBest


class StopWhenNoBetter(EarlyStopping):
    """Lightning's EarlyStopping, on the metric that the run's weights are selected by.

    Args:
        patience: Validations without a better value that are waited for.
        monitor: What it looks at where no checkpoint is kept.
        options: Further arguments of Lightning's.
    """

    def __init__(self, patience: int = 3, monitor: str = "loss/val", **options: Any) -> None:
        super().__init__(monitor, patience=patience, strict=False, **options)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the metric over from what keeps the best checkpoint."""
        for kept in trainer.checkpoint_callbacks:
            if isinstance(kept, KeepBest) and kept.monitor:
                self.monitor, self.mode = kept.monitor, kept.mode
        super().setup(trainer, pl_module, stage)
