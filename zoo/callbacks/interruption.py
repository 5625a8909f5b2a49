"""Nothing is lost when a run is stopped."""

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer


class SaveWhenInterrupted(Callback):
    """Write a last checkpoint when a run ends early, by Ctrl-C or by an error.

    Lightning's OnExceptionCheckpoint removes its file again at the end.

    Args:
        path: The checkpoint to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save, unless the disk is what failed or nothing was learned yet."""
        if not isinstance(exception, OSError) and trainer.global_step > 0:
            trainer.save_checkpoint(self.path)
