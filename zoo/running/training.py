"""One training without a command line: its folder, its callbacks, what it leaves behind."""

import contextlib
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch import LightningDataModule
from lightning.pytorch.loggers import TensorBoardLogger

from datamodules.files import copy_file
from datamodules.memory import InMemory, spec_of
from zoo.callbacks.averaging import check_average
from zoo.callbacks.checkpoints import check_checkpoint
from zoo.callbacks.folder import KeepFolder
from zoo.callbacks.tensorboard.events import EventLogger
from zoo.errors import NotFiniteError, UserError
from zoo.evaluation import has_split, measure_run
from zoo.fitted.interval import Interval
from zoo.initialization import initialize
from zoo.loading.checkpoints import last_checkpoint
from zoo.loading.classes import class_at, trusting
from zoo.module import ZooModule
from zoo.optimization import describe_schedule
from zoo.registry import let_learn
from zoo.run_folder import (
    CHECKPOINTS,
    LAST,
    PREVIOUS,
    is_finished,
    shared_run_folder,
    unless_nothing_begins,
)
from zoo.running.after_training import fit_after_training
from zoo.running.card import save_run, split_sizes
from zoo.running.mistakes import training_mistakes
from zoo.running.precision import choose_precision
from zoo.running.run import Run
from zoo.running.settings import Settings
from zoo.running.speed import keep_freed_memory, look_for_gpus_cheaply
from zoo.running.threads import training_threads
from zoo.running.trainer import run_trainer
from zoo.signals import Interrupted, received
from zoo.transfer import follow, load_backbone, read_as_before


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
        interval = Interval.of(checkpoint_every)
        self.ckpt_path: str | None = settings.config.ckpt_path
        self.resumed, self._threads, self._precision_reason = "", None, ""
        step = self._go_on(resume) if resume else None
        trainer_options = settings.config.trainer
        pl.seed_everything(settings.config.seed_everything, workers=True, verbose=False)
        try:
            self.data = data or settings.make_data()
            # The recipe's network is the user's, or was checked: its weights may be of that class.
            with trusting([self.recipe.model["class_path"]]):
                if self.recipe.weights:
                    read_as_before(self.data, self.recipe.weights["source"])
                if hasattr(self.data, "splits"):
                    self.data.setup("fit")  # whether its images are real or drawn is known only now
                self.model = self._make_model()
        except (ValueError, RuntimeError) as error:  # torch says so of a dropout of 1.5
            if isinstance(error, UserError):
                raise
            raise UserError(f"The network or its data cannot be made: {error}.") from error
        rounding = trainer_options.precision in ("bf16-true", "16-true")
        if rounding and self.model.spec.kind == "table":
            raise UserError(
                f"--trainer.precision {trainer_options.precision} would round the table before the "
                "network reads it (category 257 becomes 256); bf16-mixed and 16-mixed do not."
            )
        self.is_trial = bool(trainer_options.fast_dev_run)
        self.origin = getattr(self.data, "origin", "real")
        root = Path(trainer_options.default_root_dir or "runs")
        self.name = self.recipe.name + "-synthetic" * (self.origin == "synthetic")
        self.folder = resume
        if not self.is_trial and not resume:
            self.folder = shared_run_folder(root, self.name, name)
        elif resume:
            os.environ["ZOO_RUN_FOLDER"] = str(resume)
        self.keep_folder = KeepFolder(self.folder) if self.folder else None
        about = settings, self.model, self.data, self.keep_folder
        make = partial(run_trainer, *about, inspect=inspect, interval=interval, step=step)
        with unless_nothing_begins(self.folder):
            self.trainer, self.selection = make()
            if settings.precision_is_open:
                self._choose_precision()
                self.trainer, self.selection = make()
            self._check_sizes()

    def _choose_precision(self) -> None:
        device, processes = self.trainer.strategy.root_device, self.trainer.world_size
        with self.threads():
            precision, why = choose_precision(self.model, self.data, device, processes)
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
        if not has_split(self.data, "val") and "val" in split_sizes(self.data):
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

    def describe(self) -> str:
        """Return the one line that a run begins with."""
        sizes = "; " + " / ".join(f"{size:,}" for size in split_sizes(self.data).values())
        device = self.trainer.strategy.root_device
        workers = f" x {self.trainer.world_size}" if self.trainer.world_size > 1 else ""
        unpublished = getattr(self.data, "unpublished_files", ())
        origin = self.origin + ", not as published" * bool(unpublished)
        parts = [
            f"{self.recipe.name} on {type(self.data).__name__} ({origin}{sizes.rstrip('; ')})",
            f"{device.type}{workers}, {self.trainer.precision}{self._precision_reason}",
            f"{self.folder}" if self.folder else "no run directory (fast_dev_run)",
        ]
        return " | ".join(parts)

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
            if self.keep_folder and self.trainer.is_global_zero:
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
        if self.keep_folder and self.folder and self.trainer.is_global_zero:
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
        epochs, seconds = self.trainer.current_epoch, time.perf_counter() - started
        run = Run(self.model, self.data, self.folder, epochs=epochs, seconds=seconds)
        if self.is_trial or not self.folder or not self.keep_folder:
            return run
        kept_epoch, run.kept = run.epochs, f"epoch {run.epochs}, the last"
        if self.selection and (selected := self.selection.take(self.model, run.epochs)):
            run.checkpoint, kept_epoch, run.kept = selected
        fit_after_training(self.trainer, self.model, self.data)
        run.metrics, run.train_examples = measure_run(self.trainer, self.model, self.data)
        loggers = [g for g in self.trainer.loggers if isinstance(g, TensorBoardLogger)]
        run.logs = str(loggers[0].save_dir) if loggers else ""
        if self.trainer.is_global_zero:
            with training_mistakes(self.folder):
                self.keep_folder.check(self.trainer)
                run.card = save_run(
                    run, self.folder, self.recipe, self._recipe(), self.trainer, kept_epoch
                )
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
        for split, size in split_sizes(self.data).items():
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
            recipe["data"] = {"class_path": path, "init_args": getattr(self.data, "in_memory", {})}
        elif "source" in recipe["data"]["init_args"]:
            recipe["data"]["init_args"]["source"] = self.origin
        return recipe
