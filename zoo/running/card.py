"""The weights that a run ends with, and the card that says how they were made and how good."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer

from zoo.cards import Card
from zoo.importance import column_importance
from zoo.recipe import Recipe
from zoo.run_folder import WEIGHTS
from zoo.running.after_training import measure_calibration, measure_decision
from zoo.running.run import Run
from zoo.weights import dataset_of, save_weights


def save_run(
    run: Run, folder: Path, recipe: Recipe, repeated: dict[str, Any], trainer: Trainer, epoch: int
) -> Card:
    """Write a run's weights and their card.

    Args:
        run: The run, measured.
        folder: Its folder.
        recipe: Its recipe.
        repeated: The settings that repeat it.
        trainer: The trainer that has trained it.
        epoch: Of which epoch the weights are.
    """
    model, data, device = run.model, run.datamodule, trainer.strategy.root_device
    measured = [s for s in ("val", "test") if any(k.endswith(f"/{s}") for k in run.metrics)]
    return save_weights(
        model,
        folder / WEIGHTS,
        name=recipe.name,
        summary=recipe.summary,
        source=recipe.source,
        weights=recipe.weights or {},
        files=dict(getattr(data, "checksums", {})),
        dataset=dataset_of(data),
        split_sizes=split_sizes(data),
        metrics={name: round(value, 6) for name, value in run.metrics.items()},
        calibration=measure_calibration(model, data, measured),
        decision=measure_decision(model, data, measured),
        importance=column_importance(model, data),
        precision=trainer.precision,
        seed=repeated["seed_everything"],
        epochs=run.epochs,
        kept_epoch=epoch,
        seconds=round(run.seconds, 1),
        device=torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{device.type}, {torch.get_num_threads()} threads",
        torch_version=torch.__version__,
        recipe=repeated,
    )


def split_sizes(data: LightningDataModule) -> dict[str, int]:
    """Return how many examples each split has; nothing of data that do not say so."""
    splits = getattr(data, "splits", {})
    return {s: len(splits[s][1]) for s in ("train", "val", "test") if s in splits}
