"""One training: its folder, its callbacks, what it leaves behind."""

import contextlib
import ctypes
import errno
import os
import sys
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from zoo.callbacks.checkpoints import KeepBest
from zoo.callbacks.interruption import RandomState, SaveWhenInterrupted
from zoo.callbacks.progress import EpochLines, progress
from zoo.cli.parser import FitCLI
from zoo.errors import UserError
from zoo.optimization import build_optimizer
from zoo.tasks import Monitor
from zoo.weights import Card, dataset_of, describe_mismatch, save_weights

# Words of errors that only a first step or epoch brings up, and that a setting causes: an
# EarlyStopping without its metric, fewer batches than between validations, norms of one example.
SETTINGS_AT_FAULT = (
    "conditioned on metric",
    "`val_check_interval`",
    "Expected more than 1 value per channel",
)
CONFIG, CHECKPOINTS, WEIGHTS = "config.yaml", "checkpoints", "weights.safetensors"


def make_run_folder(root: Path, name: str) -> Path:
    """Make `root/name/version_N` with the lowest free N, also if another run does so right now."""
    try:
        (root / name).mkdir(parents=True, exist_ok=True)
        taken = [p.name.removeprefix("version_") for p in (root / name).glob("version_*")]
        number = max((int(n) for n in taken if n.isdigit()), default=-1) + 1
        while True:
            folder = root / name / f"version_{number}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise UserError(
            f"The run directory '{root / name}' cannot be made: {error.strerror}. "
            "Choose another with --trainer.default_root_dir."
        ) from error


class Training:
    """A network, its data and a trainer that writes into a run directory.

    Args:
        cli: The parsed settings, with network and data already made.
        callbacks: Callbacks besides the checkpoints and the progress bar.
    """

    def __init__(self, cli: FitCLI, callbacks: list[Callback]) -> None:
        keep_freed_memory()
        self.cli = cli
        self.model, self.data = cli.model, cli.datamodule
        trainer_options = cli.config.trainer
        self.data.setup()  # whether its images are real or drawn is known only now
        is_table = self.data.preprocessing["kind"] == "table"
        if is_table and trainer_options.precision in ("bf16-true", "16-true"):
            raise UserError(
                f"--trainer.precision {trainer_options.precision} would round the table before the "
                "network reads it (category 257 becomes 256); bf16-mixed and 16-mixed do not."
            )
        self.is_trial = bool(trainer_options.fast_dev_run)
        origin = "-synthetic" if self.data.origin == "synthetic" else ""
        root = Path(trainer_options.default_root_dir or "runs")
        self.name = f"{cli.recipe.name}{origin}"
        self.folder = None if self.is_trial else shared_run_folder(root, self.name)
        bar = progress()
        options: dict[str, Any] = {"callbacks": [bar, *callbacks]}
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
                )
        try:
            self.trainer: Trainer = cli.make_trainer(**options)
        except (MisconfigurationException, ValueError, TypeError) as error:
            raise UserError(f"The trainer cannot be set up: {error}") from error

    def _checkpointing(self, trainer_options: Any) -> list[Callback]:
        if trainer_options.enable_checkpointing is False:
            return []
        monitor = self.model.task.monitor
        if self.cli.recipe.select == "lowest_loss":
            monitor = Monitor("loss/val", "min")
        validates = trainer_options.limit_val_batches not in (0, 0.0)
        folder = self.folder / CHECKPOINTS
        keep_best = KeepBest(
            folder,
            filename="best",
            monitor=monitor.metric if validates else None,
            mode=monitor.mode,
            save_last=True,
            enable_version_counter=False,
        )
        self.keep_best = keep_best
        return [keep_best, SaveWhenInterrupted(folder / "last.ckpt"), RandomState()]

    def describe(self) -> str:
        """Return the one line that a run begins with."""
        sizes = " / ".join(f"{len(self.data.splits[s][0]):,}" for s in ("train", "val", "test"))
        device = self.trainer.strategy.root_device
        workers = f" x {self.trainer.world_size}" if self.trainer.world_size > 1 else ""
        origin = f"{self.data.origin}, not as published" * bool(self.data.unpublished_files)
        data = f"{type(self.data).__name__} ({origin or self.data.origin}; {sizes})"
        parts = [
            f"{self.cli.recipe.name} on {data}",
            f"{device.type}{workers}, {self.trainer.precision}",
            f"{self.folder}" if self.folder else "no run directory (fast_dev_run)",
        ]
        return " | ".join(parts)

    def fit(self, ckpt_path: str | None) -> dict[str, dict[str, float]]:
        """Train, select the weights, measure them, and write everything into the run directory.

        Returns:
            The metrics by split: `train` as they were while learning, `validation` and `test` of
            the weights that the run ends with.
        """
        if self.folder and self.trainer.is_global_zero:
            text = yaml.safe_dump(self._settings(), sort_keys=False, allow_unicode=True)
            (self.folder / CONFIG).write_text(text, "utf-8")
        self._check_sizes()
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
        self.seconds = time.perf_counter() - started
        self.epochs = self.trainer.current_epoch
        train = {k: float(v) for k, v in self.trainer.callback_metrics.items() if "/train" in k}
        if self.is_trial:
            return {}
        self._save_last_checkpoint()
        self._take_selected_weights()
        evaluated: dict[str, float] = {}
        for evaluate in (self.trainer.validate, self.trainer.test):
            for measured in evaluate(self.model, datamodule=self.data, verbose=False):
                evaluated |= measured
        self.metrics = {k: float(v) for k, v in {**train, **evaluated}.items()}
        if self.trainer.is_global_zero:
            with _mistakes_named(self.folder):
                card = self._save()
                for callback in self.trainer.callbacks:
                    if hasattr(callback, "on_card"):  # TensorBoard shows it
                        callback.on_card(self.trainer, card)
        return self.metrics

    def _check_sizes(self) -> None:
        for split, (x, _) in self.data.splits.items():
            if len(x) < self.trainer.world_size:
                raise UserError(
                    f"The {split} split has {len(x)} examples for {self.trainer.world_size} "
                    "processes: give --trainer.devices fewer."
                )

    def _save_last_checkpoint(self) -> None:
        """Bring the last checkpoint to the end: it was written at the last validation."""
        last = self.folder / CHECKPOINTS / "last.ckpt"
        if not hasattr(self, "keep_best") or self.trainer.global_step == 0:
            return
        if last.exists():
            step = torch.load(last, map_location="cpu", weights_only=True)["global_step"]
            if step == self.trainer.global_step:
                return
        with _mistakes_named(self.folder):
            self.trainer.save_checkpoint(last)

    def _settings(self) -> dict[str, Any]:
        """Return the settings that repeat this run, also if its data was a fallback."""
        settings = self.cli.as_recipe()
        if "source" in settings["data"]["init_args"]:
            settings["data"]["init_args"]["source"] = self.data.origin
        return settings

    @property
    def selected_checkpoint(self) -> Path | None:
        """The checkpoint whose weights the run ends with: the best if there is one, else the last.

        There is none without a validation or without checkpoints.
        """
        best = getattr(getattr(self, "keep_best", None), "best_model_path", "")
        if self.cli.recipe.select != "last" and best:
            return Path(best)
        last = self.folder / CHECKPOINTS / "last.ckpt"
        return last if last.exists() else None

    def _take_selected_weights(self) -> None:
        selected = self.selected_checkpoint
        if selected and selected.name != "last.ckpt":
            checkpoint = torch.load(selected, map_location="cpu", weights_only=True)
            self.model.load_state_dict(checkpoint["state_dict"])

    def _save(self) -> Card:
        recipe = self.cli.recipe
        return save_weights(
            self.model,
            self.folder / WEIGHTS,
            name=recipe.name,
            summary=recipe.summary,
            source=recipe.source,
            dataset=dataset_of(self.data),
            split_sizes={split: len(x) for split, (x, _) in self.data.splits.items()},
            metrics={name: round(value, 6) for name, value in self.metrics.items()},
            precision=self.trainer.precision,
            seed=self.cli.config.seed_everything,
            epochs=self.epochs,
            seconds=round(self.seconds, 1),
            device=_device_name(self.trainer.strategy.root_device),
            torch_version=torch.__version__,
            recipe=self._settings(),
        )


def check_checkpoint(path: Path, model: LightningModule) -> None:
    """Refuse what is no checkpoint of a run, or one of another network.

    Raises:
        UserError: If training cannot go on from it. Nothing in it is executed.
    """
    if not path.is_file():
        raise UserError(f"There is no checkpoint '{path}'.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found, _ = content["state_dict"], content["loops"]
    except (OSError, EOFError, KeyError, RuntimeError, TypeError, UnpicklingError) as error:
        raise UserError(f"'{path}' is not a checkpoint of a run, or is damaged.") from error
    if mismatch := describe_mismatch(model.state_dict(), found):
        raise UserError(f"'{path}' does not fit {type(model).__name__}: {mismatch}")
    optimizer = model.hparams["optimizer"]
    states = content.get("optimizer_states")
    if optimizer and states:
        dummy = {"params": [torch.nn.Parameter(torch.zeros(1))]}
        needed = build_optimizer(optimizer, [dummy]).param_groups[0].keys()
        if missing := needed - states[0]["param_groups"][0].keys():
            raise UserError(
                f"'{path}' was written with another optimizer than {optimizer['class_path']}: it "
                f"has no {', '.join(sorted(missing))}. Go on with the optimizer it was begun with."
            )


def shared_run_folder(root: Path, name: str) -> Path:
    """Make the run folder once, and let the other processes of a training on several find it.

    Those that Lightning starts inherit the environment, those of torchrun share its store.
    """
    if "ZOO_RUN_FOLDER" in os.environ and "LOCAL_RANK" in os.environ:
        return Path(os.environ["ZOO_RUN_FOLDER"])
    if "TORCHELASTIC_RUN_ID" in os.environ:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = torch.distributed.TCPStore(address, port, is_master=False)
        if os.environ["RANK"] == "0":
            store.set("zoo_run_folder", str(make_run_folder(root, name)))
        return Path(store.get("zoo_run_folder").decode())
    folder = make_run_folder(root, name)
    os.environ["ZOO_RUN_FOLDER"] = str(folder)
    return folder


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


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of giving every large tensor back to the system.

    A training step allocates the same few megabytes again and again; without this a third of an
    LSTM's epoch (20 s against 13 s) and two thirds of a batched distortion go into page faults.
    """
    if sys.platform != "linux":
        return
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, LARGE = -1, -3, 2**30
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to set
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        libc.mallopt(M_TRIM_THRESHOLD, LARGE)
