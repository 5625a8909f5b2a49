"""What the tests of sweeps share: short trainings, data, and a sweep's study."""

from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[3]
QUICK = ("--model", "xor_mlp", "--trainer.max_epochs", "5", "--inspect", "none")
SHORT = {"max_epochs": 5, "inspect": "none"}


def clusters(count: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Return three clusters of four numbers."""
    draw = np.random.default_rng(0)
    y = draw.integers(0, 3, count)
    return (3 * np.eye(4)[y] + draw.normal(size=(count, 4))).astype("float32"), y


def study_of(folder: Path) -> Any:
    import optuna

    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.log"))
    storage = optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name=folder.name, storage=storage)
