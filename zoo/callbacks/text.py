"""What a run is, in words: its card, its settings, its data, its command line, its versions."""

import platform
import shlex
import sys
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, Trainer

from zoo.callbacks.board import board
from zoo.module import ZooModule

if TYPE_CHECKING:
    from zoo.cards import Card

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


class RunTexts(Callback):
    """Writes `run/command`, `run/versions`, `run/recipe`, and at the end `run/card`.

    A table's profile, `data/profile`, comes from its datamodule.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Write what is known before training."""
        writer = board(trainer)
        if writer is None:
            return
        writer.add_text("run/command", f"    {shlex.join(sys.orig_argv)}")
        writer.add_text("run/versions", versions_table(pl_module.device))
        settings = Path(writer.log_dir) / "config.yaml"
        if settings.is_file():
            writer.add_text("run/recipe", f"```yaml\n{settings.read_text('utf-8')}```")

    def on_card(self, trainer: Trainer, card: "Card") -> None:
        """Write the card of the weights that the run ends with."""
        writer = board(trainer)
        if writer is not None:
            writer.add_text("run/card", card_table(card), trainer.global_step)
            writer.flush()


def card_table(card: "Card") -> str:
    """Return a card as Markdown; its recipe is a text of its own."""
    rows = {key: value for key, value in asdict(card).items() if key != "recipe"}
    return _table(("field", "value"), {k: v for k, v in rows.items() if v not in ({}, "", None)})


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
