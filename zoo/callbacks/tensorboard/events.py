"""Event files that a training does without, where the disk is full or their folder is gone."""

import contextlib
import io
import os
import socket
import time
import warnings
from itertools import count
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from tensorboard.compat.proto.event_pb2 import (  # type: ignore[import-untyped]
    Event,
    SessionLog,
)
from tensorboard.summary.writer.record_writer import (  # type: ignore[import-untyped]
    RecordWriter,
)
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.writer import FileWriter

MEMORY = 2**16  # bytes
_numbers = count()  # of the files of this process, as tensorboard's writer counts them


class EventFile:
    """Writes events as tensorboard's EventFileWriter does, but in the thread of its caller.

    That one's thread ends with a traceback on a full disk, and the training with it at the next
    event. Here the first failure is a warning, and nothing is written after it.

    Args:
        folder: Where; it is made.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = str(folder)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}"
        self._path = Path(folder) / f"{name}.{os.getpid()}.{next(_numbers)}"
        self._memory = io.BytesIO()
        self._records = RecordWriter(self._memory)
        self._file: io.FileIO | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb", buffering=0)
        except OSError as error:
            self._warn(error)
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self.flush()

    def get_logdir(self) -> str:
        """Return the folder."""
        return self._folder

    def add_event(self, event: Event) -> None:
        """Write an event, into memory as long as it is little."""
        self._records.write(event.SerializeToString())
        if self._memory.tell() > MEMORY:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory."""
        content = memoryview(self._memory.getvalue())
        self._memory.seek(0)
        self._memory.truncate()
        if self._file is None:
            return
        try:
            while content:
                content = content[self._file.write(content) :]
        except OSError as error:
            self.close()
            self._warn(error)

    def close(self) -> None:
        """Close the file; what is in memory is not written."""
        self._file, file = None, self._file
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _warn(self, error: OSError) -> None:
        warnings.warn(
            f"TensorBoard shows no more of this run: '{self._path}' cannot be written "
            f"({error.strerror}). The training goes on.",
            stacklevel=2,
        )


class _Files(FileWriter):
    def __init__(self, folder: str) -> None:
        self.event_writer = EventFile(folder)


class Writer(SummaryWriter):
    """A SummaryWriter whose file is an `EventFile`."""

    def _get_file_writer(self) -> Any:
        files: Any = self.file_writer
        if files is None:
            files = _Files(self.log_dir)
            if self.purge_step is not None:
                started = SessionLog(status=SessionLog.START)
                for part in ({"file_version": "brain.Event:2"}, {"session_log": started}):
                    files.add_event(Event(step=self.purge_step, **part))
            vars(self).update(file_writer=files, all_writers={self.log_dir: files}, purge_step=None)
        return files


class EventLogger(TensorBoardLogger):
    """Lightning's logger for TensorBoard, without which a training goes on."""

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The writer."""
        if self._experiment is None:
            self._experiment = Writer(log_dir=self.log_dir, **self._kwargs)
        return self._experiment

    @rank_zero_only
    def save(self) -> None:
        """Write what there is; the settings that Lightning keeps beside it are in `config.yaml`."""
        self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what there is; the file stays open for the tests that follow a training."""
        if self._experiment is not None:
            self.experiment.flush()

    @rank_zero_only
    def close(self) -> None:
        """Write what there is, and close the file."""
        if self._experiment is not None:
            self.experiment.close()
