"""Where in Lightning's loops a training can go on, and what a checkpoint then says of them."""

from enum import Enum, auto
from typing import Any

from lightning.pytorch import Trainer

from datamodules.batches import TensorBatches


class Place(Enum):
    """Where a training was stopped."""

    WITHIN_UPDATE = auto()  # it cannot go on from there
    WITHIN_EPOCH = auto()
    BETWEEN_EPOCHS = auto()


def settle(trainer: Trainer) -> Place:
    """Say where an exception has stopped a training, and let the counts of its loops say so too.

    After an update all that it changes is there. What an exception then keeps from being done comes
    later, such as the next batch and a validation, or can be left out, such as the end of the
    epoch, where only a schedule that watches the validation still has to move.
    """
    loop: Any = trainer.fit_loop
    batches, epochs = loop.epoch_loop.batch_progress, loop.epoch_progress
    if batches.total.started != batches.total.processed:
        return Place.WITHIN_UPDATE
    done = batches.current.processed
    if batches.current.completed == done:  # a batch that was only fetched is fetched again
        batches.is_last_batch = done == trainer.num_training_batches
        batches.total.ready, batches.current.ready = batches.total.processed, done
    if epochs.current.ready > epochs.current.started:  # the loader has begun the next one
        return Place.BETWEEN_EPOCHS
    if isinstance(loader := trainer.train_dataloader, TensorBatches):
        loader.go_back_to(done)
    if epochs.current.started > epochs.current.processed:
        if accumulates(trainer):
            return Place.WITHIN_UPDATE
        if validation_follows(trainer):
            for counts in (batches.total, batches.current):
                counts.completed = counts.processed
            repeat_validation(trainer)
            return Place.WITHIN_EPOCH
        if not epoch_ends(trainer):
            return Place.WITHIN_EPOCH
        epochs.increment_processed()
    watching = [c for c in trainer.lr_scheduler_configs if c.reduce_on_plateau]
    if watching and epochs.current.completed < epochs.current.processed:
        if not all(str(config.monitor).endswith("/val") for config in watching):
            return Place.WITHIN_UPDATE  # what the end of the epoch would have told it is not there
        loop.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
    return Place.BETWEEN_EPOCHS


def accumulates(trainer: Trainer) -> bool:
    """Return whether this batch's gradients wait for those of more batches before they move."""
    complete = (trainer.fit_loop.batch_idx + 1) % trainer.accumulate_grad_batches == 0
    return not complete and (
        trainer.strategy.handles_gradient_accumulation or not epoch_ends(trainer)
    )


def validation_follows(trainer: Trainer) -> bool:
    """Return whether there is a validation before the next batch.

    One that comes by the clock (`--trainer.val_check_interval 00:15:00`) nobody can foretell.
    """
    epochs, every = trainer.check_val_every_n_epoch, trainer.val_check_batch
    loop: Any = trainer.fit_loop
    if not trainer.enable_validation or (epochs and (trainer.current_epoch + 1) % epochs):
        return False
    enough = loop.epoch_progress.current.processed >= (trainer.min_epochs or 0)
    if trainer.should_stop and enough and trainer.global_step >= (trainer.min_steps or 0):
        return True
    if every is None:
        return False
    if every == float("inf"):  # data that do not tell how many they are
        return epoch_ends(trainer)
    return ((loop.batch_idx if epochs else loop.total_batch_idx) + 1) % every == 0


def epoch_ends(trainer: Trainer) -> bool:
    """Return whether there is no next batch in this epoch."""
    return trainer.is_last_batch or trainer.fit_loop.batch_idx + 1 == trainer.num_training_batches


def repeat_validation(trainer: Trainer) -> None:
    """Let a checkpoint say that its validation has just begun.

    Lightning begins one again only if it was cut off within a step, and then leaves out as many
    batches at its end as were done.
    """
    progress: Any = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    progress.reset_on_run()
    total = progress.total
    total.processed = total.completed
    total.started = total.ready = total.completed + 1
