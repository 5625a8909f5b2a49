"""What tests of trainings that are stopped share: their data, and what a run ended with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.run_folder import CARD


def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (400, 1, 28, 28), np.uint8), rng.integers(0, 10, 400)


def outcome(folder: Path) -> dict[str, Any]:
    """Return what a run ended with: `sha256` is that of its weights."""
    card = json.loads((folder / CARD).read_text())
    return {key: card[key] for key in ("sha256", "metrics", "epochs", "kept_epoch")}


def step_of(checkpoint: Path) -> int:
    return torch.load(checkpoint, weights_only=True)["global_step"]
