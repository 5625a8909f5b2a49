"""Nothing is lost when a run is stopped: its last checkpoint, and what goes into it."""

import contextlib
import signal
import time
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn

from datamodules.files import NotWrittenError
from zoo.callbacks.finite import all_finite
from zoo.callbacks.going_on import (
    Place,
    accumulates,
    epoch_ends,
    repeat_validation,
    settle,
    validation_follows,
)
from zoo.errors import NotFiniteError
from zoo.fitted.interval import Interval
from zoo.loading.restoring import refuse, unlike
from zoo.signals import handle, stop_at_once


class KeepLast(Checkpoint):
    """Write the checkpoint that a training goes on from: every so often, and when it is stopped.

    It is written after every epoch, after a validation within one, every `interval`, and at the
    end. Within an update the parameters, the optimizer and the position in the data do not belong
    together: a run that went on from there would skip a batch, or do one twice. So all waits for
    the end of an update, and what comes last in an epoch for the beginning of the next one: by then
    the schedules have moved, and whoever stops early has done so.

    A first Ctrl-C also waits for the validation that follows an update. A second one does not, nor
    do SIGTERM and SIGHUP, whose sender soon kills: the run that goes on repeats it. The third
    stops at once. What stops at once within an update, such as an exception there, saves nothing.

    Of several processes all stop, and save, after the same update: what one of them was asked, and
    whether it is time, they tell each other after every one.

    Args:
        path: The checkpoint to write.
        interval: The longest time or number of updates between two.

    Attributes:
        saved_step: The update after which it was written last.
    """

    def __init__(self, path: Path, interval: Interval) -> None:
        self.path, self.interval = path, interval
        self.signal = 0  # the first one, that the exit status tells
        self._asked = 0  # how urgently: a first Ctrl-C, a second one or SIGTERM, a third signal
        self._agreed = 0  # what all processes know of that
        self._waited = self._at_boundary = self._stopping = self._stop_early = False
        self._between_epochs = self._saved_between = False
        self.saved_step, self._saved_at = -1, 0.0
        self._trainer: Trainer | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return whether something has stopped the training early."""
        return {"should_stop": self._trainer is not None and self._trainer.should_stop}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep it until the training starts: Lightning forgets it before."""
        self._stop_early = state_dict.get("should_stop") is True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over; Lightning gives them back when the training ends."""
        self._trainer = trainer
        self.saved_step, self._saved_at = trainer.global_step, time.monotonic()
        trainer.should_stop |= self._stop_early
        handle(partial(self._on_signal, trainer))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a signal stop at once what only measures: Lightning's own handler may hang here."""
        handle(stop_at_once)

    def _on_signal(self, trainer: Trainer, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            return  # what is being saved is not to be spoilt
        self.signal = self.signal or number
        self._asked += 2 if number != signal.SIGINT and not self._asked else 1
        alone = trainer.world_size == 1
        at_once = self._asked > 2 and trainer.is_global_zero  # it ends the others
        if at_once or (alone and self._asked == 2 and trainer.validating):
            self._stop()

    def _stop(self) -> None:
        self._stopping = True
        stop_at_once(self.signal)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save or stop here if that is due, and if nothing that belongs to this update follows."""
        steps = trainer.global_step - self.saved_step
        due = self._agree(trainer, self.interval.is_over(steps, time.monotonic() - self._saved_at))
        if not (self._agreed or due) or accumulates(trainer):
            return
        follows = validation_follows(trainer) or epoch_ends(trainer)
        # One more update at most: an epoch of one batch has something following every one.
        if self._agreed and (self._waited or not follows):
            self._at_boundary = True
            self._stop()
        self._waited = bool(self._agreed)
        if due and not follows:
            self._save(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before a validation that is not waited for."""
        asked = self._asked if trainer.world_size == 1 else self._agreed
        if asked > 1 and not self._stopping:
            self._stop()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save within an epoch; at its end more follows, as it does where the training stops."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.should_stop:
            return
        if trainer.sanity_checking:
            return
        if not epoch_ends(trainer):
            self._save(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what the epoch before has left."""
        self._between_epochs = True
        self._save(trainer)
        self._between_epochs = False

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let a checkpoint between two epochs say that the first is just ending.

        From there Lightning goes on as it should; from the beginning of an epoch, or after the last
        one, it leaves a whole epoch out.
        """
        if self._between_epochs:
            for counts in checkpoint["loops"]["fit_loop"]["epoch_progress"].values():
                counts["ready"] = counts["started"] = counts["processed"]
                counts["completed"] = counts["processed"] - 1

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the training; stop here if that was asked for in the last update."""
        self._between_epochs = True
        self._agree(trainer)
        if self._agreed:
            self._at_boundary = True
            self._stop()
        self._save(trainer)
        handle(stop_at_once)

    def _agree(self, trainer: Trainer, due: bool = False) -> bool:
        """Let all processes know what each of them was asked, and whether it is time to save.

        What arrives meanwhile is for the next time: it was not told.
        """
        self._agreed = self._asked
        if trainer.world_size > 1:
            told = torch.tensor([self._agreed << 8 | self.signal, due])
            told = trainer.strategy.reduce(told.to(trainer.strategy.root_device), reduce_op="max")
            self._agreed, due = int(told[0]) >> 8, bool(told[1])
            self.signal = self.signal or int(told[0]) & 255
        return due

    def _save(self, trainer: Trainer) -> None:
        saved = trainer.global_step == self.saved_step
        saved &= self._saved_between or not self._between_epochs
        if trainer.global_step and not saved:
            self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.saved_step, self._saved_between = trainer.global_step, self._between_epochs
        self._saved_at = time.monotonic()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save, unless a run could not go on from here, or the disk is what failed."""
        self._stopping = True
        fitting = trainer.state.fn == TrainerFn.FITTING and trainer.global_step > 0
        if not fitting or isinstance(exception, (NotWrittenError, NotFiniteError)):
            return
        alone = trainer.world_size == 1
        if alone and not all_finite(pl_module):
            return
        if trainer.validating and (alone or self._agreed > 1):
            # Lightning's own averages may be in the network's place now, and say so to nobody.
            if any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks):  # type: ignore[attr-defined]
                return
            repeat_validation(trainer)
            self._write(trainer)
        elif self._at_boundary:
            self._write(trainer)
        # Who stops at once may do so anywhere; of several processes the others know nothing.
        elif alone and self._trainer and not isinstance(exception, KeyboardInterrupt):
            place = settle(trainer)
            self._between_epochs = place == Place.BETWEEN_EPOCHS
            if place != Place.WITHIN_UPDATE:
                with contextlib.suppress(OSError):  # that exception is what is to be said
                    self._save(trainer)


class RandomState(Callback):
    """Keep the state of the random numbers in the checkpoints.

    A run that goes on then draws what it would have drawn: its dropout and its augmentation do not
    differ from those of an uninterrupted run.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the CPU's generator, and of the current GPU's if there is one.

        Of several processes each has a state of its own.
        """
        state = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state()
        if not torch.distributed.is_available() or not torch.distributed.is_initialized():
            return state
        states: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(states, state)
        return {"processes": states}

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Say by how many threads was computed: sums are split among them, and rounded."""
        checkpoint["threads"] = torch.get_num_threads()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until the training starts: what is set up before it draws numbers too."""
        self._restored = state_dict
        own = {"cpu": torch.get_rng_state()}
        for state in state_dict.get("processes") or [state_dict]:
            refuse(unlike(state, own, "the state of the random numbers", partly=True))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the checkpoint's random numbers, each process with its own."""
        states = self._restored.get("processes") or [self._restored]
        state = states[trainer.global_rank % len(states)]
        if "cpu" in state:
            torch.set_rng_state(state["cpu"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"])
        self._restored = {}
