"""The folder of a run while it trains: its settings, its lock, and that it is still this run's."""

import contextlib
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from datamodules.files import NotWrittenError, atomic_write
from zoo.callbacks.tensorboard.events import EventLogger
from zoo.errors import UserError
from zoo.run_folder import CONFIG, locked


class KeepFolder(Callback):
    """Keeps a run's folder whole, also where somebody deletes it while the run trains.

    The next checkpoint makes it again, with the settings, so that the run can be gone on with. If
    another run has got the same folder meanwhile, this one ends rather than write into it.

    As a context it keeps the folder to this training.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._settings = ""
        self._made: tuple[int, int] | None = None
        self._locks = contextlib.ExitStack()

    def __enter__(self) -> "KeepFolder":
        self._take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._locks.close()

    def _take(self) -> None:
        self._locks.enter_context(locked(self.folder))
        about = self.folder.stat()
        self._made = about.st_dev, about.st_ino  # of what is open: nobody else gets this number

    def write(self, settings: str) -> None:
        """Write the settings into the folder, now and whenever it is made again."""
        self._settings = settings
        with atomic_write(self.folder / CONFIG, "w", encoding="utf-8") as file:
            file.write(settings)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look after the folder before something is written into it."""
        self.check(trainer)

    def check(self, trainer: Trainer) -> None:
        """Make the folder again if it is gone.

        Raises:
            UserError: If it is another run's.
        """
        if self._made is None or not trainer.is_global_zero:
            return
        with contextlib.suppress(FileNotFoundError):
            about = self.folder.stat()
            if (about.st_dev, about.st_ino) != self._made:
                raise UserError(
                    f"'{self.folder}' was deleted while this run trained, and is another run's "
                    "now: this one ends here. Give each a --name, and they do not meet."
                )
            return
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:  # such as where the working directory is gone, too
            raise NotWrittenError(error.errno, error.strerror, str(self.folder)) from error
        warnings.warn(
            f"'{self.folder}' was deleted while this run trained. It is made again, and the "
            "training goes on; the curves and checkpoints of before are lost.",
            stacklevel=2,
        )
        self._take()
        self.write(self._settings)
        for logger in trainer.loggers:
            if isinstance(logger, EventLogger):
                logger.close()  # the next event makes a new file
