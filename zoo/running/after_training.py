"""What is fitted to a network on its validation data once its weights are settled."""

from collections.abc import Iterable
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities import move_data_to_device

from datamodules import TensorDataModule
from datamodules.base import EVALUATION_BATCH_SIZE
from datamodules.batches import TensorBatches
from zoo.evaluation import has_split
from zoo.fitted.calibration import describe, fit_calibration
from zoo.fitted.decisions import Decision, fit_interval, fit_threshold
from zoo.fitted.decisions import describe as describe_decision
from zoo.network import Network


def fit_after_training(trainer: pl.Trainer, model: Network, data: pl.LightningDataModule) -> None:
    """Fit the network's calibration and decision, in one process for all of them."""
    fitted = None
    if trainer.is_global_zero and trainer.limit_val_batches != 0:
        model.to(trainer.strategy.root_device)
        if (found := split_logits(model, data, "val")) is not None:
            fitted = fit_calibration(*found)
    model.calibration = trainer.strategy.broadcast(fitted)
    decision = None
    if trainer.is_global_zero and model.spec.kind == "table":
        decision = _fit_decision(model, data, trainer.limit_val_batches != 0)
    model.decision = trainer.strategy.broadcast(decision)


def _fit_decision(model: Network, data: pl.LightningDataModule, validates: bool) -> Decision | None:
    """Fit a threshold or an interval, as the data were told to."""
    level, costs = getattr(data, "interval", None), getattr(data, "costs", None)
    found = _split_answers(model, data, "val") if validates else None
    if model.spec.task == "binary":
        empty = torch.empty(0), torch.empty(0)
        return fit_threshold(*(found or empty), costs)
    if model.spec.task == "regression" and level is not None and found is not None:
        return fit_interval(*found, level)
    return None


def _split_answers(
    model: Network, data: pl.LightningDataModule, split: str
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return calibrated probabilities (N,) of the second class, or values, and what is true."""
    if (found := _split_outputs(model, data, split)) is None or model.spec.task == "multiclass":
        return None
    if model.spec.task == "regression":
        return found
    return model.task.outputs(model.calibrated(found[0]))[:, 1], found[1].reshape(-1)


def measure_decision(
    model: Network, data: pl.LightningDataModule, splits: Iterable[str] = ("val", "test")
) -> dict[str, Any]:
    """Return a network's decision and what it does to splits, as a card has it, if there is one."""
    if model.decision is None:
        return {}
    described = {k: v for k, v in model.decision.plain().items() if v not in (None, "", [])}
    for split in splits:
        if split != "train" and (found := _split_answers(model, data, split)) is not None:
            described[split] = describe_decision(model.decision, *found)
    return described


def split_logits(
    model: Network, data: pl.LightningDataModule, split: str
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return a classifier's logits of a whole split and its classes (N,), on the CPU.

    Returns:
        Both; None of a regression, of targets that are no classes, and of a split that there is
        not, or whose loaders are several.
    """
    if model.spec.task == "regression":
        return None
    if (found := _split_outputs(model, data, split)) is None:
        return None
    logits, target = found[0], found[1].reshape(-1)
    return (logits, target) if len(logits) == len(target) else None


@torch.inference_mode()
def _split_outputs(
    model: Network, data: pl.LightningDataModule, split: str
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return what a network gives for a whole split, and its targets, on the CPU."""
    if not has_split(data, split):
        return None
    loader: Any
    if isinstance(data, TensorDataModule):
        x, y = data.splits[split]
        loader = TensorBatches(x, y, max(data.batch_size, EVALUATION_BATCH_SIZE))
    else:
        loader = getattr(data, f"{split}_dataloader")()
        if isinstance(loader, (list, tuple, dict)) or loader is None:
            return None
    was_training = model.training
    model.eval()
    found = [
        (model(move_data_to_device(x, model.device)).float().cpu(), target.cpu())
        for x, target in loader
    ]
    model.train(was_training)
    if not found:
        return None
    outputs, target = (torch.cat(parts) for parts in zip(*found, strict=True))
    return outputs, target


def measure_calibration(
    model: Network, data: pl.LightningDataModule, splits: Iterable[str] = ("val", "test")
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
