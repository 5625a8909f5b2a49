"""What is fitted to a network on its validation data once its weights are settled."""

from collections.abc import Iterable
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities import move_data_to_device

from datamodules import TensorDataModule
from datamodules.base import EVALUATION_BATCH_SIZE
from datamodules.batches import TensorBatches
from zoo.calibration import describe, fit_calibration
from zoo.evaluation import has_split
from zoo.module import ZooModule


def fit_after_training(trainer: pl.Trainer, model: ZooModule, data: pl.LightningDataModule) -> None:
    """Fit the network's calibration, in one process for all of them."""
    fitted = None
    if trainer.is_global_zero and trainer.limit_val_batches != 0:
        model.to(trainer.strategy.root_device)
        if (found := split_logits(model, data, "val")) is not None:
            fitted = fit_calibration(*found)
    model.calibration = trainer.strategy.broadcast(fitted)


@torch.inference_mode()
def split_logits(
    model: ZooModule, data: pl.LightningDataModule, split: str
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return a classifier's logits of a whole split and its classes (N,), on the CPU.

    Returns:
        Both; None of a regression, of targets that are no classes, and of a split that there is
        not, or whose loaders are several.
    """
    if model.spec.task == "regression" or not has_split(data, split):
        return None
    loader: Any
    if isinstance(data, TensorDataModule):
        x, y = data.splits[split]
        loader = TensorBatches(x, y, max(data.batch_size, EVALUATION_BATCH_SIZE)) if len(y) else ()
    else:
        loader = getattr(data, f"{split}_dataloader")()
        if isinstance(loader, (list, tuple, dict)) or loader is None:
            return None
    was_training = model.training
    model.eval()
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    for x, target in loader:
        logits = model(move_data_to_device(x, model.device))
        found.append((logits.float().cpu(), target.reshape(-1).cpu()))
        if len(found[-1][1]) != len(logits):
            return None
    model.train(was_training)
    if not found:
        return None
    logits, target = (torch.cat(parts) for parts in zip(*found, strict=True))
    return logits, target


def measure_calibration(
    model: ZooModule, data: pl.LightningDataModule, splits: Iterable[str] = ("val", "test")
) -> dict[str, Any]:
    """Return what a network's calibration does to splits, as a card has it; nothing without one."""
    if model.calibration is None:
        return {}
    measured: dict[str, Any] = {}
    for split in ("val", "test"):
        found = split_logits(model, data, split) if split in splits else None
        if found is not None:
            measured[split] = describe(model.calibration, *found)
    return {"temperature": model.calibration.temperature, **measured} if measured else {}
