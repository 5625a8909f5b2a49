"""Lightning's trainer with what a run needs: callbacks, event files, checkpoints."""

from typing import Any

from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from zoo.callbacks.averaging import ExponentialMovingAverage
from zoo.callbacks.blocks import BlockLogger, Blocks
from zoo.callbacks.calibrated_loss import CALIBRATED_LOSS, CalibratedLoss
from zoo.callbacks.checkpoints import AtomicCheckpointIO
from zoo.callbacks.finite import StopWhenNotFinite
from zoo.callbacks.folder import KeepFolder
from zoo.callbacks.interruption import RandomState
from zoo.callbacks.progress import Progress, progress
from zoo.callbacks.tensorboard import tensorboard_panels
from zoo.errors import UserError
from zoo.evaluation import has_split
from zoo.fitted.interval import Interval
from zoo.module import ZooModule
from zoo.run_folder import CHECKPOINTS
from zoo.running.selection import Selection
from zoo.running.settings import Settings
from zoo.running.speed import Unprofiled
from zoo.tasks import Monitor


def run_trainer(
    settings: Settings,
    model: ZooModule,
    data: LightningDataModule,
    keep_folder: KeepFolder | None,
    *,
    inspect: str,
    interval: Interval,
    step: int | None,
) -> tuple[Trainer, Selection | None]:
    """Make the trainer of a run, and what selects the run's weights.

    Args:
        settings: The settings of the run.
        model: The network.
        data: Its data.
        keep_folder: The run's folder; a trial has none, and neither checkpoints nor event files.
        inspect: What TensorBoard shows.
        interval: The longest time or number of updates between two checkpoints.
        step: Where a run that goes on does so.

    Raises:
        UserError: If a setting does not fit.
    """
    given, selection, bar = settings.config.trainer, None, progress()
    callbacks = [bar, Blocks(), StopWhenNotFinite(), *tensorboard_panels(inspect)]
    if model.learning.averaging is not None:
        callbacks.append(ExponentialMovingAverage(model.learning.averaging))
    options: dict[str, Any] = {"callbacks": callbacks, "plugins": [AtomicCheckpointIO()]}
    folder = keep_folder.folder if keep_folder else None
    if keep_folder:
        callbacks.append(keep_folder)
    validates = has_split(data, "val")
    if not validates:  # --data.val_size 0: all of it trains
        options["limit_val_batches"] = 0
    if given.profiler is None:
        options["profiler"] = Unprofiled()
    if not isinstance(bar, Progress):
        options["enable_progress_bar"] = False
    if folder and given.enable_checkpointing is not False:
        monitor, further = model.task.monitor, []
        if settings.recipe.select == "lowest_loss" and model.spec.task != "regression":
            monitor, further = Monitor(CALIBRATED_LOSS, "min"), [CalibratedLoss()]
        watched = monitor if validates and given.limit_val_batches != 0 else None
        wants_best = settings.recipe.select != "last"
        selection = Selection(folder / CHECKPOINTS, watched, interval, wants_best)
        selection.callbacks[:0] = further
        callbacks += [*selection.callbacks, RandomState()]
    if folder and given.logger in (None, True):
        options["logger"] = BlockLogger(
            folder.parent.parent,
            name=folder.parent.name,
            version=folder.name,
            default_hp_metric=False,
            purge_step=step,  # what was shown of later steps comes again
        )
    try:
        return settings.make_trainer(**options), selection
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"The trainer cannot be set up: {error}") from error
