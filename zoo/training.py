"""One training without a command line: its folder, its callbacks, what it leaves behind."""

import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from datamodules.files import copy_file
from datamodules.memory import InMemory, spec_of
from zoo.after_training import fit_after_training, measure_calibration, measure_decision
from zoo.callbacks.averaging import ExponentialMovingAverage, check_average
from zoo.callbacks.blocks import BlockLogger, Blocks
from zoo.callbacks.calibrated_loss import CALIBRATED_LOSS, CalibratedLoss
from zoo.callbacks.checkpoints import AtomicCheckpointIO, check_checkpoint
from zoo.callbacks.finite import StopWhenNotFinite
from zoo.callbacks.folder import KeepFolder
from zoo.callbacks.interruption import RandomState
from zoo.callbacks.progress import Progress, progress
from zoo.callbacks.tensorboard import tensorboard_panels
from zoo.callbacks.tensorboard.events import EventLogger
from zoo.cards import Card
from zoo.checkpoints import last_checkpoint
from zoo.classes import class_at
from zoo.errors import NotFiniteError, UserError
from zoo.evaluation import has_split, measure_run
from zoo.importance import column_importance
from zoo.initialization import initialize
from zoo.interval import Interval
from zoo.module import ZooModule
from zoo.optimization import describe_schedule
from zoo.precision import choose_precision
from zoo.registry import let_learn
from zoo.run import Run
from zoo.run_folder import (
    CHECKPOINTS,
    LAST,
    PREVIOUS,
    WEIGHTS,
    is_finished,
    shared_run_folder,
    unless_nothing_begins,
)
from zoo.selection import Selection
from zoo.settings import Settings
from zoo.signals import Interrupted, received
from zoo.speed import Unprofiled, keep_freed_memory, look_for_gpus_cheaply
from zoo.tasks import Monitor
from zoo.threads import training_threads
from zoo.training_mistakes import training_mistakes
from zoo.transfer import follow, load_backbone, read_as_before
from zoo.weights import dataset_of, save_weights


class Training:
    """A network, its data and a trainer that writes into a run directory.

    Args:
        settings: The settings of the run.
        data: Its data, if they are given as an object; made as the settings say if None.
        inspect: What TensorBoard shows.
        name: What the run's folder is called; `version_N` if nothing.
        checkpoint_every: The longest time or number of updates between two checkpoints.
        resume: The folder of a run to go on with, whose settings these are.

    Raises:
        UserError: If a setting does not fit, or there is nothing to go on from.
    """

    def __init__(
        self,
        settings: Settings,
        data: LightningDataModule | None = None,
        inspect: str = "basic",
        *,
        name: str = "",
        checkpoint_every: str = "5min",
        resume: Path | None = None,
    ) -> None:
        keep_freed_memory()
        look_for_gpus_cheaply()
        self.settings, self.recipe = settings, settings.recipe
        self.interval = Interval.of(checkpoint_every)
        self.ckpt_path: str | None = settings.config.ckpt_path
        self.resumed, self._threads, self._precision_reason = "", None, ""
        step = self._go_on(resume) if resume else None
        trainer_options = settings.config.trainer
        pl.seed_everything(settings.config.seed_everything, workers=True, verbose=False)
        try:
            self.data = data or settings.make_data()
            if self.recipe.weights:
                read_as_before(self.data, self.recipe.weights["source"])
            if hasattr(self.data, "splits"):
                self.data.setup("fit")  # whether its images are real or drawn is known only now
            self.model = self._make_model()
        except (ValueError, RuntimeError) as error:  # torch says so of a dropout of 1.5
            if isinstance(error, UserError):
                raise
            raise UserError(f"The network or its data cannot be made: {error}.") from error
        is_table = self.model.spec.preprocessing["kind"] == "table"
        if is_table and trainer_options.precision in ("bf16-true", "16-true"):
            raise UserError(
                f"--trainer.precision {trainer_options.precision} would round the table before the "
                "network reads it (category 257 becomes 256); bf16-mixed and 16-mixed do not."
            )
        self.is_trial = bool(trainer_options.fast_dev_run)
        self.origin = getattr(self.data, "origin", "real")
        suffix = "-synthetic" if self.origin == "synthetic" else ""
        root = Path(trainer_options.default_root_dir or "runs")
        self.name = f"{self.recipe.name}{suffix}"
        self.folder = resume
        if not self.is_trial and not resume:
            self.folder = shared_run_folder(root, self.name, name)
        elif resume:
            os.environ["ZOO_RUN_FOLDER"] = str(resume)
        self.selection: Selection | None = None
        with unless_nothing_begins(self.folder):
            self.trainer = self._make_trainer(inspect, step)
            if settings.precision_is_open:
                self._choose_precision()
                self.trainer = self._make_trainer(inspect, step)
            self._check_sizes()

    def _make_trainer(self, inspect: str, step: int | None) -> Trainer:
        """Make Lightning's trainer, with what a run folder needs if there is one."""
        trainer_options = self.settings.config.trainer
        bar = progress()
        callbacks = [bar, Blocks(), StopWhenNotFinite(), *tensorboard_panels(inspect)]
        if self.model.learning.averaging is not None:
            callbacks.append(ExponentialMovingAverage(self.model.learning.averaging))
        options: dict[str, Any] = {"callbacks": callbacks}
        self.validates = has_split(self.data, "val")
        if not self.validates:  # --data.val_size 0: all of it trains
            options["limit_val_batches"] = 0
        if trainer_options.profiler is None:
            options["profiler"] = Unprofiled()
        if not isinstance(bar, Progress):
            options["enable_progress_bar"] = False
        if self.folder:
            self.keep_folder = KeepFolder(self.folder)
            callbacks.append(self.keep_folder)
            if trainer_options.enable_checkpointing is not False:
                self.selection = self._selection(self.folder / CHECKPOINTS, trainer_options)
                options["callbacks"] += [*self.selection.callbacks, RandomState()]
            if trainer_options.logger in (None, True):
                options["logger"] = BlockLogger(
                    self.folder.parent.parent,
                    name=self.folder.parent.name,
                    version=self.folder.name,
                    default_hp_metric=False,
                    purge_step=step,  # what was shown of later steps comes again
                )
        options["plugins"] = [AtomicCheckpointIO()]
        try:
            return self.settings.make_trainer(**options)
        except (MisconfigurationException, ValueError, TypeError) as error:
            raise UserError(f"The trainer cannot be set up: {error}") from error

    def _choose_precision(self) -> None:
        where = self.trainer.strategy.root_device, self.trainer.world_size
        with self.threads():
            precision, why = choose_precision(self.model, self.data, *where)
        self.settings.take_precision(precision)
        self._precision_reason = f" (auto: {why})"

    def _go_on(self, folder: Path) -> int:
        """Choose the checkpoint to go on from, and return its step."""
        if self.ckpt_path:
            raise UserError("--resume finds its checkpoint itself: leave --ckpt_path out.")
        if is_finished(folder) and not self.settings.lengthened:
            raise UserError(
                f"'{folder}' has finished. --trainer.max_epochs N beside --resume makes it longer."
            )
        file, content, damaged = last_checkpoint(folder)
        self.ckpt_path, step = str(file), content["global_step"]
        self._threads = content.get("threads")
        self.resumed = f"going on from {file}, epoch {content['epoch'] + 1}, step {step:,}"
        if damaged:
            self.resumed = f"warning: {damaged}\n{self.resumed}"
        return step

    def _make_model(self) -> ZooModule:
        """Make the network for the data, from weights if so asked, and let it learn."""
        spec, arguments = spec_of(self.data), self.settings.model_arguments
        self.start = ""
        if self.recipe.weights:
            source = self.recipe.weights["source"]
            model, self.start = load_backbone(source, follow(self.data, source), **arguments)
        else:
            model = class_at(self.recipe.model["class_path"])(spec, **arguments)
        learning = self.settings.learning
        if learning.class_weights is None:
            learning = replace(learning, class_weights=getattr(self.data, "class_weights", None))
        let_learn(model, learning, self.settings.changed_learning, print)
        if not self.recipe.weights:
            initialize(model, learning.init)
        return model

    def announce(self) -> None:
        """Print what is going to be done."""
        if not self.trainer.is_global_zero:
            return
        lines = [self.start, self.describe(), self.resumed]
        schedule = self.model.learning.lr_scheduler
        if schedule and self.settings.schedule_is_given:
            lines.append(describe_schedule(schedule))
        if not self.validates and "val" in self.split_sizes():
            lines.append(
                "Nothing is validated, as the val split is empty: the training does not stop early "
                "and ends with its last weights."
            )
        if part := self.settings.config.trainer.overfit_batches:
            batches = "batch" if part == 1 else f"{part} batches"
            share = batches if isinstance(part, int) else f"{100 * part:.4g} %"
            lines.append(
                f"Every epoch reads the same first {share} of the training data, unshuffled."
            )
        print(*filter(None, lines), sep="\n", flush=True)

    def _selection(self, folder: Path, trainer_options: Any) -> Selection:
        monitor, further = self.model.task.monitor, []
        if self.recipe.select == "lowest_loss" and self.model.spec.task != "regression":
            monitor, further = Monitor(CALIBRATED_LOSS, "min"), [CalibratedLoss()]
        validates = trainer_options.limit_val_batches != 0 and self.validates
        wants_best = self.recipe.select != "last"
        selection = Selection(folder, monitor if validates else None, self.interval, wants_best)
        selection.callbacks[:0] = further
        return selection

    def describe(self) -> str:
        """Return the one line that a run begins with."""
        sizes = "; " + " / ".join(f"{size:,}" for size in self.split_sizes().values())
        device = self.trainer.strategy.root_device
        workers = f" x {self.trainer.world_size}" if self.trainer.world_size > 1 else ""
        unpublished = bool(getattr(self.data, "unpublished_files", ()))
        origin = self.origin + ", not as published" * unpublished
        parts = [
            f"{self.recipe.name} on {type(self.data).__name__} ({origin}{sizes.rstrip('; ')})",
            f"{device.type}{workers}, {self.trainer.precision}{self._precision_reason}",
            f"{self.folder}" if self.folder else "no run directory (fast_dev_run)",
        ]
        return " | ".join(parts)

    def split_sizes(self) -> dict[str, int]:
        """Return how many examples each split has; nothing of data that do not say so."""
        splits = getattr(self.data, "splits", {})
        return {s: len(splits[s][1]) for s in ("train", "val", "test") if s in splits}

    def threads(self) -> contextlib.AbstractContextManager[None]:
        """Compute by as many threads as pay for the network, unless the user has said how many."""
        return training_threads(self.trainer, self.model, self.data, self._threads)

    def fit(self) -> Run:
        """Train, select the weights, measure them, and write everything into the run directory.

        Returns:
            The run, with the metrics of the weights that it ends with.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(unless_nothing_begins(self.folder))
            if self.folder and self.trainer.is_global_zero:
                stack.enter_context(self.keep_folder)
            for logger in self.trainer.loggers:
                if isinstance(logger, EventLogger):
                    stack.callback(logger.close)  # also of a training that is stopped
            with training_mistakes(self.folder):
                stack.enter_context(self.threads())
            received.clear()
            try:
                return self._fit()
            except SystemExit:
                if not received:
                    raise
                # Lightning has taken a signal and stopped its processes.
                raise self._interrupted(received[0]) from None
            except (UserError, NotFiniteError):
                raise
            except Exception as error:  # of the user's own code, or a bug of ours
                if self.selection and (go_on := self._how_to_go_on()):
                    done, saved = self.trainer.global_step, self.selection.keep_last.saved_step
                    error.add_note(f"Saved up to step {saved} of {done}; then {go_on}")
                raise

    def _fit(self) -> Run:
        ckpt_path = self.ckpt_path
        if ckpt_path:
            check_checkpoint(Path(ckpt_path), self.model)
        if self.folder and self.trainer.is_global_zero:
            for left in (self.folder / CHECKPOINTS).glob(".*.ckpt-*"):
                left.unlink(missing_ok=True)  # of a write that was killed
            if ckpt_path and Path(ckpt_path) == self.folder / CHECKPOINTS / PREVIOUS:
                # A damaged last one must not take its place when the next is written.
                with training_mistakes(self.folder):
                    copy_file(Path(ckpt_path), self.folder / CHECKPOINTS / LAST)
            text = yaml.safe_dump(self._recipe(), sort_keys=False, allow_unicode=True)
            with training_mistakes(self.folder):
                self.keep_folder.write(text)
        if ckpt_path:
            check_average(Path(ckpt_path), self.trainer)
        started = time.perf_counter()
        with training_mistakes(self.folder):
            try:
                self.trainer.fit(
                    self.model, datamodule=self.data, ckpt_path=ckpt_path, weights_only=True
                )
            except NotFiniteError as error:
                raise NotFiniteError(f"{error} {self._last_good_checkpoint(ckpt_path)}") from error
        self.seconds = time.perf_counter() - started
        self.epochs = self.trainer.current_epoch
        run = Run(self.model, self.data, self.folder, epochs=self.epochs, seconds=self.seconds)
        if self.is_trial or not self.folder:
            return run
        self.kept_epoch, run.kept = self.epochs, f"epoch {self.epochs}, the last"
        if self.selection and (selected := self.selection.take(self.model, self.epochs)):
            run.checkpoint, self.kept_epoch, run.kept = selected
        fit_after_training(self.trainer, self.model, self.data)
        run.metrics, run.train_examples = measure_run(self.trainer, self.model, self.data)
        loggers = [g for g in self.trainer.loggers if isinstance(g, TensorBoardLogger)]
        run.logs = str(loggers[0].save_dir) if loggers else ""
        if self.trainer.is_global_zero:
            with training_mistakes(self.folder):
                self.keep_folder.check(self.trainer)
                run.card = self._save(run, self.folder)
                for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
                    if hasattr(callback, "on_card"):  # TensorBoard shows it
                        callback.on_card(self.trainer, run.card)
                for logger in loggers:
                    logger.experiment.close()
        self.model.eval()
        return run

    def _last_good_checkpoint(self, ckpt_path: str | None) -> str:
        last = self.selection.last if self.selection else None
        if last is None or not last.exists():
            if ckpt_path:
                return f"The last good checkpoint is that which it went on from: {ckpt_path}"
            return "There was no validation before, so there is no checkpoint."
        step = torch.load(last, map_location="cpu", weights_only=True)["global_step"]
        return f"The last good checkpoint, of step {step}, is kept: {last}"

    def _check_sizes(self) -> None:
        for split, size in self.split_sizes().items():
            if not size and split == "train":
                raise UserError("The train split is empty: hold fewer examples out.")
            if 0 < size < self.trainer.world_size:
                raise UserError(
                    f"The {split} split has {size} examples for {self.trainer.world_size} "
                    "processes: give --trainer.devices fewer."
                )

    def _interrupted(self, number: int) -> Interrupted:
        """Say that a signal has stopped it, and how to go on."""
        return Interrupted(number, "; ".join(filter(None, ["interrupted", self._how_to_go_on()])))

    def _how_to_go_on(self) -> str:
        """Return how to go on with what was stopped, if that is possible."""
        if self.selection and self.selection.last.exists():
            return f"go on with: --resume {self.folder}"
        return ""

    def _recipe(self) -> dict[str, Any]:
        """Return the settings that repeat this run, also if its data was a fallback."""
        recipe = self.settings.as_recipe()
        if not self.settings.with_data:  # an object: who repeats the run must bring it
            kind = InMemory if hasattr(self.data, "in_memory") else type(self.data)
            path = f"{kind.__module__}.{kind.__qualname__}"
            recipe["data"] = {"class_path": path, "init_args": {}}
        elif "source" in recipe["data"]["init_args"]:
            recipe["data"]["init_args"]["source"] = self.origin
        return recipe

    def _save(self, run: Run, folder: Path) -> Card:
        measured = [s for s in ("val", "test") if any(k.endswith(f"/{s}") for k in run.metrics)]
        return save_weights(
            self.model,
            folder / WEIGHTS,
            name=self.recipe.name,
            summary=self.recipe.summary,
            source=self.recipe.source,
            weights=self.recipe.weights or {},
            files=dict(getattr(self.data, "checksums", {})),
            dataset=dataset_of(self.data),
            split_sizes=self.split_sizes(),
            metrics={name: round(value, 6) for name, value in run.metrics.items()},
            calibration=measure_calibration(self.model, self.data, measured),
            decision=measure_decision(self.model, self.data, measured),
            importance=column_importance(self.model, self.data),
            precision=self.trainer.precision,
            seed=self.settings.config.seed_everything,
            epochs=self.epochs,
            kept_epoch=self.kept_epoch,
            seconds=round(self.seconds, 1),
            device=_device_name(self.trainer.strategy.root_device),
            torch_version=torch.__version__,
            recipe=self._recipe(),
        )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
