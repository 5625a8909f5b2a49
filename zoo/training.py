"""One training without a command line: its folder, its callbacks, what it leaves behind."""

import contextlib
import errno
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import yaml
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from datamodules.files import atomic_write, copy_file
from datamodules.memory import InMemory, spec_of
from zoo.callbacks.averaging import ExponentialMovingAverage, check_average
from zoo.callbacks.checkpoints import AtomicCheckpointIO, KeepBest, check_checkpoint
from zoo.callbacks.finite import StopWhenNotFinite
from zoo.callbacks.interruption import KeepLast, RandomState
from zoo.callbacks.progress import EpochLines, progress
from zoo.callbacks.tensorboard import tensorboard_panels
from zoo.cards import Card
from zoo.checkpoints import last_checkpoint
from zoo.classes import class_at
from zoo.console import by_split, duration, metrics_table
from zoo.errors import NotFiniteError, UserError
from zoo.evaluation import has_split, measure_run
from zoo.initialization import initialize
from zoo.interval import Interval
from zoo.module import ZooModule
from zoo.optimization import describe_schedule
from zoo.registry import let_learn
from zoo.run_folder import (
    CHECKPOINTS,
    CONFIG,
    LAST,
    PREVIOUS,
    WEIGHTS,
    is_finished,
    locked,
    shared_run_folder,
)
from zoo.settings import Settings
from zoo.signals import Interrupted, received
from zoo.speed import Unprofiled, keep_freed_memory, look_for_gpus_cheaply
from zoo.tasks import Monitor
from zoo.weights import dataset_of, follow, load_backbone, save_weights

# Words of errors that only a first step or epoch brings up, and that a setting causes: an
# EarlyStopping without its metric, fewer batches than between validations, norms of one example, a
# OneCycleLR that is shorter than the training.
SETTINGS_AT_FAULT = (
    "conditioned on metric",
    "`val_check_interval`",
    "Expected more than 1 value per channel",
    "number of total steps is",
    "number of total steps is",
)


@dataclass
class Run:
    """What a training leaves behind.

    Attributes:
        model: The network with the weights that the run ends with, in evaluation mode.
        metrics: By `metric/split`, of these weights.
        folder: The run directory; None after a trial run (`fast_dev_run`).
        card: What was written beside the weights.
        datamodule: The data.
        epochs: Epochs trained.
        seconds: How long that took.
        checkpoint: The checkpoint with these weights.
        kept: Which epoch's weights these are, and why.
        train_examples: On how many training examples the metrics of `train` were measured.
        logs: The folder that TensorBoard shows; empty if nothing was written for it.
    """

    model: ZooModule
    datamodule: LightningDataModule
    folder: Path | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    card: Card | None = None
    epochs: int = 0
    seconds: float = 0.0
    checkpoint: Path | None = None
    kept: str = ""
    train_examples: int = 0
    logs: str = ""

    def __str__(self) -> str:
        """The table of metrics, and where everything is."""
        if self.folder is None:
            return "A trial run (fast_dev_run) leaves nothing behind."
        titles = {"train": "train", "val": "validation", "test": "test"}
        nested = by_split(self.metrics)
        total = (self.card.split_sizes if self.card else {}).get("train", 0)
        if self.train_examples < total:
            titles["train"] = f"train, {self.train_examples:,} of {total:,}"
        shown = {titles[s]: nested[s] for s in titles if s in nested}
        if getattr(self.datamodule, "origin", "real") == "synthetic":
            shown = {f"{split} (synthetic)": values for split, values in shown.items()}
        table = metrics_table(shown, getattr(self.datamodule, "first_metrics", ()))
        epochs = f"{self.epochs} epoch{'s' * (self.epochs != 1)}"
        places = {
            "weights of": self.kept,
            "time": f"{duration(self.seconds)}, {epochs}",
            "checkpoint": self.checkpoint,
            "weights": self.folder / WEIGHTS,
            "tensorboard": self.logs and f"tensorboard --logdir {self.logs}",
        }
        lines = [f"{title:12} {place}" for title, place in places.items() if place]
        return "\n".join([table, "", *lines])


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
        self.resumed = ""
        step = self._go_on(resume) if resume else None
        trainer_options = settings.config.trainer
        pl.seed_everything(settings.config.seed_everything, workers=True, verbose=False)
        try:
            self.data = data or settings.make_data()
            if hasattr(self.data, "splits"):
                self.data.setup()  # whether its images are real or drawn is known only now
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
        bar = progress()
        callbacks = [bar, StopWhenNotFinite(), *tensorboard_panels(inspect), *self._averaging()]
        options: dict[str, Any] = {"callbacks": callbacks}
        if trainer_options.profiler is None:
            options["profiler"] = Unprofiled()
        if isinstance(bar, EpochLines):
            options["enable_progress_bar"] = False
        if self.folder:
            options["callbacks"] += self._checkpointing(trainer_options)
            if trainer_options.logger in (None, True):
                options["logger"] = TensorBoardLogger(
                    self.folder.parent.parent,
                    name=self.folder.parent.name,
                    version=self.folder.name,
                    default_hp_metric=False,
                    purge_step=step,  # what was shown of later steps comes again
                )
        options["plugins"] = [AtomicCheckpointIO()]
        try:
            self.trainer: Trainer = settings.make_trainer(**options)
        except (MisconfigurationException, ValueError, TypeError) as error:
            raise UserError(f"The trainer cannot be set up: {error}") from error

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

    def _averaging(self) -> list[Callback]:
        decay = self.model.learning.averaging
        if decay is None:
            return []
        return [ExponentialMovingAverage(decay)]

    def announce(self) -> None:
        """Print what is going to be done."""
        if not self.trainer.is_global_zero:
            return
        lines = [self.start, self.describe(), self.resumed]
        schedule = self.model.learning.lr_scheduler
        if schedule and self.settings.schedule_is_given:
            lines.append(describe_schedule(schedule))
        if part := self.trainer.overfit_batches:
            share = f"{part} batches" if isinstance(part, int) else f"{100 * part:.4g} %"
            lines.append(
                f"Every epoch reads the same first {share} of the training data, unshuffled."
            )
        print(*filter(None, lines), sep="\n", flush=True)

    def _checkpointing(self, trainer_options: Any) -> list[Callback]:
        if trainer_options.enable_checkpointing is False:
            return []
        monitor = self.model.task.monitor
        if self.recipe.select == "lowest_loss":
            monitor = Monitor("loss/val", "min")
        validates = trainer_options.limit_val_batches not in (0, 0.0) and has_split(
            self.data, "val"
        )
        folder = self.folder / CHECKPOINTS
        keep_best = KeepBest(
            folder,
            filename="best",
            monitor=monitor.metric if validates else None,
            mode=monitor.mode,
            enable_version_counter=False,
        )
        self.keep_best = keep_best
        self.keep_last = KeepLast(folder / LAST, self.interval)
        return [keep_best, self.keep_last, RandomState()]

    def describe(self) -> str:
        """Return the one line that a run begins with."""
        sizes = "; " + " / ".join(f"{size:,}" for size in self.split_sizes().values())
        device = self.trainer.strategy.root_device
        workers = f" x {self.trainer.world_size}" if self.trainer.world_size > 1 else ""
        unpublished = bool(getattr(self.data, "unpublished_files", ()))
        origin = self.origin + ", not as published" * unpublished
        parts = [
            f"{self.recipe.name} on {type(self.data).__name__} ({origin}{sizes.rstrip('; ')})",
            f"{device.type}{workers}, {self.trainer.precision}",
            f"{self.folder}" if self.folder else "no run directory (fast_dev_run)",
        ]
        return " | ".join(parts)

    def split_sizes(self) -> dict[str, int]:
        """Return how many examples each split has; nothing of data that do not say so."""
        splits = getattr(self.data, "splits", {})
        return {s: len(splits[s][1]) for s in ("train", "val", "test") if s in splits}

    def fit(self) -> Run:
        """Train, select the weights, measure them, and write everything into the run directory.

        Returns:
            The run, with the metrics of the weights that it ends with.
        """
        with contextlib.ExitStack() as stack:
            if self.folder and self.trainer.is_global_zero:
                stack.enter_context(locked(self.folder))
            received.clear()
            try:
                return self._fit()
            except SystemExit:
                if not received:
                    raise
                # Lightning has taken a signal and stopped its processes.
                raise self._interrupted(received[0]) from None

    def _fit(self) -> Run:
        ckpt_path = self.ckpt_path
        if ckpt_path:
            check_checkpoint(Path(ckpt_path), self.model)
        if self.folder and self.trainer.is_global_zero:
            for left in (self.folder / CHECKPOINTS).glob(".*.ckpt-*"):
                left.unlink(missing_ok=True)  # of a write that was killed
            if ckpt_path and Path(ckpt_path) == self.folder / CHECKPOINTS / PREVIOUS:
                # A damaged last one must not take its place when the next is written.
                with _mistakes_named(self.folder):
                    copy_file(Path(ckpt_path), self.folder / CHECKPOINTS / LAST)
            text = yaml.safe_dump(self._recipe(), sort_keys=False, allow_unicode=True)
            with (
                _mistakes_named(self.folder),
                atomic_write(self.folder / CONFIG, "w", encoding="utf-8") as file,
            ):
                file.write(text)
        self._check_sizes()
        if ckpt_path:
            check_average(Path(ckpt_path), self.trainer)
        started = time.perf_counter()
        with _mistakes_named(self.folder):
            try:
                self.trainer.fit(
                    self.model, datamodule=self.data, ckpt_path=ckpt_path, weights_only=True
                )
            except (MisconfigurationException, RuntimeError, ValueError) as error:
                known = isinstance(error, MisconfigurationException)
                if not known and not any(sign in str(error) for sign in SETTINGS_AT_FAULT):
                    raise
                raise UserError(f"The training cannot run: {error}") from error
            except NotFiniteError as error:
                raise NotFiniteError(f"{error} {self._last_good_checkpoint(ckpt_path)}") from error
        self.seconds = time.perf_counter() - started
        self.epochs = self.trainer.current_epoch
        run = Run(self.model, self.data, self.folder, epochs=self.epochs, seconds=self.seconds)
        if self.is_trial:
            return run
        self._take_selected_weights()
        run.metrics, run.train_examples = measure_run(self.trainer, self.model, self.data)
        run.kept = self._kept()
        if self.selected_checkpoint:  # Lightning's path is absolute, and the others are as given
            run.checkpoint = self.folder / CHECKPOINTS / self.selected_checkpoint.name
        loggers = [g for g in self.trainer.loggers if isinstance(g, TensorBoardLogger)]
        run.logs = str(loggers[0].save_dir) if loggers else ""
        if self.trainer.is_global_zero:
            with _mistakes_named(self.folder):
                run.card = self._save(run)
                for callback in self.trainer.callbacks:
                    if hasattr(callback, "on_card"):  # TensorBoard shows it
                        callback.on_card(self.trainer, run.card)
        self.model.eval()
        return run

    def _last_good_checkpoint(self, ckpt_path: str | None) -> str:
        last = self.folder / CHECKPOINTS / LAST if self.folder else None
        if last is None or not last.exists():
            if ckpt_path:
                return f"The last good checkpoint is that which it went on from: {ckpt_path}"
            return "There was no validation before, so there is no checkpoint."
        step = torch.load(last, map_location="cpu", weights_only=True)["global_step"]
        return f"The last good checkpoint, of step {step}, is kept: {last}"

    def _check_sizes(self) -> None:
        for split, size in self.split_sizes().items():
            if not size:
                raise UserError(
                    f"The {split} split is empty: hold examples out for it, or give it files."
                )
            if size < self.trainer.world_size:
                raise UserError(
                    f"The {split} split has {size} examples for {self.trainer.world_size} "
                    "processes: give --trainer.devices fewer."
                )

    def _interrupted(self, number: int) -> Interrupted:
        """Say how to go on with what a signal has stopped."""
        keep = getattr(self, "keep_last", None)
        advice = ""
        if keep and keep.path.exists():
            advice = f"; go on with: --resume {self.folder}"
        return Interrupted(number, f"interrupted{advice}")

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

    @property
    def selected_checkpoint(self) -> Path | None:
        """The checkpoint whose weights the run ends with: the best if there is one, else the last.

        There is none without a validation or without checkpoints.
        """
        best = getattr(getattr(self, "keep_best", None), "best_model_path", "")
        if self.recipe.select != "last" and best:
            return Path(best)
        last = self.folder / CHECKPOINTS / LAST
        return last if last.exists() else None

    def _take_selected_weights(self) -> None:
        selected = self.selected_checkpoint
        self.kept_epoch = self.epochs
        if selected:  # also the last: where nothing was left to train, no average was put in place
            checkpoint = torch.load(selected, map_location="cpu", weights_only=True)
            self.model.load_state_dict(checkpoint["state_dict"])
            if selected.name != LAST:
                self.kept_epoch = checkpoint["epoch"] + 1

    def _kept(self) -> str:
        """Return which epoch's weights the run ends with, and why those."""
        best = getattr(self, "keep_best", None)
        selected = self.selected_checkpoint
        is_best = selected and selected.name != LAST
        return f"epoch {self.kept_epoch}, the {f'best by {best.monitor}' if is_best else 'last'}"

    def _save(self, run: Run) -> Card:
        return save_weights(
            self.model,
            self.folder / WEIGHTS,
            name=self.recipe.name,
            summary=self.recipe.summary,
            source=self.recipe.source,
            weights=self.recipe.weights or {},
            files=dict(getattr(self.data, "checksums", {})),
            dataset=dataset_of(self.data),
            split_sizes=self.split_sizes(),
            metrics={name: round(value, 6) for name, value in run.metrics.items()},
            precision=self.trainer.precision,
            seed=self.settings.config.seed_everything,
            epochs=self.epochs,
            kept_epoch=self.kept_epoch,
            seconds=round(self.seconds, 1),
            device=_device_name(self.trainer.strategy.root_device),
            torch_version=torch.__version__,
            recipe=self._recipe(),
        )


class _mistakes_named:
    """Turn what only shows while training, such as a full disk, into one message with its fix."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, RuntimeError) and "not allow for gradient clipping" in str(error):
            raise UserError(
                "A fused optimizer cannot clip gradients under mixed precision; pass "
                "--optimizer.fused false, or leave --trainer.gradient_clip_val out."
            ) from error
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        full |= isinstance(error, RuntimeError) and "PytorchStreamWriter" in str(error)
        if full:
            raise UserError(
                f"The disk under '{self.folder}' is full: {error}. What was written before is "
                "kept. Free some space, or choose another folder with --trainer.default_root_dir."
            ) from error


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
