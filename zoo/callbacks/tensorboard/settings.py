"""What was set, what the run is, and how it ended: the tables HParams and Text."""

import inspect
import os
import platform
import shlex
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from zoo.module import ZooModule

if TYPE_CHECKING:
    from zoo.cards import Card

PLAIN = (str, int, float, bool)
# The packages that a result may depend on.
PACKAGES = (
    "lightning-zoo",
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "tensorboard",
    "jsonargparse",
    "safetensors",
    "pandas",
    "numpy",
    "matplotlib",
)


def write_hparams(writer: SummaryWriter, model: ZooModule, trainer: Trainer, step: int) -> None:
    """Write the run's settings for TensorBoard's HParams page.

    The metrics beside them are the run's own scalars (`accuracy/test`, ...), whose last value the
    page reads: there is no copy, and never a placeholder such as `hp_metric = -1`. No list of
    columns is written either: TensorBoard would take the first run's list for all runs, where
    without one it joins the columns of all (the metrics in alphabetical order).
    """
    writer.file_writer.add_summary(hparams(settings(trainer, model), {})[1])  # type: ignore[attr-defined]


def write_success(writer: SummaryWriter, model: ZooModule, trainer: Trainer, step: int) -> None:
    """Write for the HParams page that the run came to its end."""
    writer.file_writer.add_summary(hparams({}, {})[2])  # type: ignore[attr-defined]


def write_texts(writer: SummaryWriter, model: ZooModule, trainer: Trainer, step: int) -> None:
    """Write command, versions and settings; a table's profile comes from its datamodule."""
    writer.add_text("run/command", f"    {shlex.join(sys.orig_argv)}")
    writer.add_text("run/versions", versions_table(model.device))
    config = Path(writer.log_dir) / "config.yaml"
    if config.is_file():
        writer.add_text("run/recipe", f"```yaml\n{config.read_text('utf-8')}```")


def write_card(writer: SummaryWriter, model: ZooModule, card: "Card", step: int) -> None:
    """Write the card of the weights that the run ends with; its recipe is a text of its own."""
    rows = {k: v for k, v in asdict(card).items() if k != "recipe" and v not in ({}, "", None)}
    writer.add_text("run/card", _table(("field", "value"), rows), step)


def settings(trainer: Trainer, pl_module: ZooModule) -> dict[str, Any]:
    """Return what can be set in a run, flat, as numbers, strings and booleans."""
    data = getattr(trainer, "datamodule", None)
    found: dict[str, Any] = {"model": type(pl_module).__name__}
    learning = pl_module.learning.plain()
    for key in ("optimizer", "lr_scheduler"):
        spec = learning.pop(key) or {}
        if spec:
            found[key] = spec["class_path"].rpartition(".")[2]
            beside = {k: v for k, v in spec.items() if k not in ("class_path", "init_args")}
            found |= {f"{key}.{k}": v for k, v in {**spec.get("init_args", {}), **beside}.items()}
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


def versions_table(device: torch.device) -> str:
    """Return the versions of everything that a result may depend on, as Markdown."""
    found: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform()}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    found["device"] = f"{device.type}, {name}, {torch.get_num_threads()} threads"
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from its folder, not installed
            found[package] = "not installed"
    return _table(("what", "version"), found)


def _table(header: tuple[str, str], rows: dict[str, Any]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---|---|"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        value = "<br>".join(f"{key}: {inner}" for key, inner in value.items())
    elif isinstance(value, list):
        value = ", ".join(map(str, value))
    return str(value).replace("|", "\\|").replace("\n", " ")
