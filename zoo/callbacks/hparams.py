"""A table in which runs can be compared: what was set, and what came of it."""

import inspect
import os
from typing import Any

from lightning.pytorch import Callback, Trainer
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams as hparams_summaries

from zoo.callbacks.board import board
from zoo.module import ZooModule

PLAIN = (str, int, float, bool)


class HParamsTable(Callback):
    """Writes the run's settings for TensorBoard's HParams page.

    The metrics beside them are the run's own scalars (`accuracy/test`, ...), whose last value the
    page reads: there is no copy, and never a placeholder such as `hp_metric = -1`. No list of
    columns is written either: TensorBoard would take the first run's list for all runs, where
    without one it joins the columns of all.
    """

    def on_train_start(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Write the settings."""
        writer = board(trainer)
        if writer is not None:
            self._write(writer, settings(trainer, pl_module), ended=False)

    def on_test_end(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Write that the run came to its end."""
        writer = board(trainer)
        if writer is not None:
            self._write(writer, {}, ended=True)

    def _write(self, writer: SummaryWriter, values: dict[str, Any], ended: bool) -> None:
        _, start, end = hparams_summaries(values, {})
        writer._get_file_writer().add_summary(end if ended else start)


def settings(trainer: Trainer, pl_module: ZooModule) -> dict[str, Any]:
    """Return what can be set in a run, flat, as numbers, strings and booleans."""
    data = trainer.datamodule
    found: dict[str, Any] = {"model": type(pl_module).__name__}
    learning = pl_module.learning.plain()
    for key in ("optimizer", "lr_scheduler"):
        spec = learning.pop(key) or {}
        if spec:
            found[key] = spec["class_path"].rpartition(".")[2]
            beside = {k: v for k, v in spec.items() if k not in ("class_path", "init_args")}
            settings = {**spec.get("init_args", {}), **beside}
            found |= {f"{key}.{k}": v for k, v in settings.items()}
    found |= {f"model.{k}": v for k, v in pl_module.hparams.items() if k != "spec"}
    found |= {f"learning.{k}": v for k, v in learning.items()}
    if data is not None:
        found["data"] = type(data).__name__
        found["data.origin"] = getattr(data, "origin", None)
        for name in inspect.signature(type(data).__init__).parameters:
            value = getattr(data, name, None)
            if isinstance(value, PLAIN) and name != "source":  # its origin is what it came to
                found[f"data.{name}"] = value
        augment = getattr(data, "augment", None)
        if augment is not None:
            found["data.augment"] = ", ".join(type(module).__name__ for module in augment)
    found["trainer.max_epochs"] = trainer.max_epochs
    found["trainer.precision"] = trainer.precision
    found["trainer.gradient_clip_val"] = trainer.gradient_clip_val
    seed = os.environ.get("PL_GLOBAL_SEED")  # seed_everything leaves it here
    found["seed"] = int(seed) if seed else None
    plain = {k: v if isinstance(v, PLAIN) else str(v) for k, v in found.items() if v is not None}
    return {key: value for key, value in plain.items() if value != ""}
