"""Nothing is lost when a run is stopped."""

import signal
import threading
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn

from zoo.errors import NotFiniteError


class SaveWhenInterrupted(Callback):
    """Stop at the end of an update on Ctrl-C or SIGTERM, and write a last checkpoint then.

    Within an update the parameters, the optimizer and the position in the data do not belong
    together: a run that went on from there would skip a batch, or do one twice. So a signal waits
    for the end of the update, and of the validation that follows it. A second one does not wait for
    the validation, nor does SIGTERM, whose sender soon kills: the run that goes on repeats it. The
    third stops at once. What stops at once within an update, such as an exception there, saves
    nothing: the checkpoint of the last validation is the last that a run can go on from.

    Lightning's OnExceptionCheckpoint removes its file again at the end.

    Args:
        path: The checkpoint to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._asked = 0  # how urgently: a first Ctrl-C, a second one or SIGTERM, a third signal
        self._waited = self._at_boundary = False
        self._trainer: Trainer | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over; Lightning gives them back when the training ends."""
        self._trainer = trainer
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._on_signal)
            signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, number: int, *_: Any) -> None:
        self._asked += 2 if number == signal.SIGTERM and not self._asked else 1
        if self._asked > 2 or (self._asked == 2 and self._trainer.validating):
            raise KeyboardInterrupt

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop here if that was asked for, and if nothing that belongs to this update follows."""
        if trainer.world_size > 1:  # all processes, or those left would wait for the others
            asked = trainer.strategy.reduce_boolean_decision(bool(self._asked), all=False)
            self._asked = max(self._asked, int(asked))
        if not self._asked or trainer.fit_loop.epoch_loop._should_accumulate():
            return
        # One more update at most: an epoch of one batch has something following every one.
        if self._waited or not _something_follows(trainer):
            self._at_boundary = True
            raise KeyboardInterrupt
        self._waited = True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before a validation that is not waited for."""
        if self._asked > 1 and trainer.world_size == 1:
            raise KeyboardInterrupt

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop here if that was asked for in the last update."""
        if self._asked:
            self._at_boundary = True
            raise KeyboardInterrupt
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save, unless a run could not go on from here, or the disk is what failed."""
        fitting = trainer.state.fn == TrainerFn.FITTING and trainer.global_step > 0
        if not fitting or isinstance(exception, (OSError, NotFiniteError)):
            return
        if trainer.validating:
            # Lightning's own averages may be in the network's place now, and say so to nobody.
            if any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks):
                return
            _repeat_validation(trainer)
        elif not self._at_boundary:
            return
        trainer.save_checkpoint(self.path)


class RandomState(Callback):
    """Keep the state of the random numbers in the checkpoints.

    A run that goes on then draws what it would have drawn: its dropout and its augmentation do not
    differ from those of an uninterrupted run.
    """

    def __init__(self) -> None:
        self._restored: dict[str, torch.Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the CPU's generator, and of the current GPU's if there is one."""
        state = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until the training starts: what is set up before it draws numbers too."""
        self._restored = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the checkpoint's random numbers."""
        if "cpu" in self._restored:
            torch.set_rng_state(self._restored["cpu"])
        if "cuda" in self._restored and torch.cuda.is_available():
            torch.cuda.set_rng_state(self._restored["cuda"])
        self._restored = {}


def _something_follows(trainer: Trainer) -> bool:
    """Return whether a validation or the end of the epoch comes before the next batch."""
    loop = trainer.fit_loop.epoch_loop
    follows = loop._should_check_val_fx(trainer.fit_loop._data_fetcher)
    return follows or loop._num_ready_batches_reached()


def _repeat_validation(trainer: Trainer) -> None:
    """Let a checkpoint say that its validation has just begun.

    Lightning begins one again only if it was cut off within a step, and then leaves out as many
    batches at its end as were done.
    """
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    progress.reset_on_run()
    total = progress.total
    total.processed = total.completed
    total.started = total.ready = total.completed + 1
