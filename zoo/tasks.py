"""What a network is asked: binary, multiclass or regression; its metrics and its predictions."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection, R2Score
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryF1Score,
    MulticlassAccuracy,
    MulticlassF1Score,
)

from zoo.area import AreaUnderCurves
from zoo.errors import UserError


@dataclass(frozen=True)
class Monitor:
    """The validation metric that tells the best checkpoint, and its direction."""

    metric: str
    mode: Literal["min", "max"]


class BinaryTask:
    """Yes or no: one logit, targets 0.0 or 1.0 of shape (N,)."""

    monitor = Monitor("accuracy/val", "max")

    def metrics(self, num_outputs: int) -> MetricCollection:
        """Return accuracy, F1, AUROC and average precision, all of the second class."""
        return MetricCollection(
            {
                "accuracy": BinaryAccuracy(),
                "f1": BinaryF1Score(),
                "auroc": BinaryAUROC(),
                "average_precision": BinaryAveragePrecision(),
            }
        )

    def compute(self, metrics: MetricCollection) -> dict[str, Tensor]:
        """Return the metrics by name."""
        return dict(metrics.compute())

    def metric_inputs(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities (N,) and int64 targets (N,)."""
        return torch.sigmoid(logits.float()).squeeze(-1), target.reshape(-1).long()

    def correct(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return which of a batch are right (N,)."""
        return (logits.squeeze(-1) > 0) == (target.reshape(-1) > 0.5)

    def predict(self, logits: Tensor, class_names: list[str]) -> dict[str, Any]:
        """Return class names, and probabilities of shape (N, 2)."""
        return _named(self.outputs(logits), class_names)

    def outputs(self, logits: Tensor) -> Tensor:
        """Return probabilities (N, 2)."""
        positive = torch.sigmoid(logits.float())
        return torch.cat([1 - positive, positive], dim=-1)


class MulticlassTask:
    """One of several classes: a logit for each, int64 targets of shape (N,)."""

    monitor = Monitor("accuracy/val", "max")

    def metrics(self, num_outputs: int) -> MetricCollection:
        """Return accuracy (of examples), and F1 and AUROC averaged over classes."""
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(num_outputs, average="micro"),
                "f1": MulticlassF1Score(num_outputs, average="macro"),
                "auroc": AreaUnderCurves(num_outputs),
            }
        )

    def compute(self, metrics: MetricCollection) -> dict[str, Tensor]:
        """Return the metrics by name."""
        return dict(metrics.compute())

    def metric_inputs(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities (N, classes) and targets (N,)."""
        return torch.softmax(logits.float(), dim=-1), target

    def correct(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return which of a batch are right (N,)."""
        return logits.argmax(dim=-1) == target

    def predict(self, logits: Tensor, class_names: list[str]) -> dict[str, Any]:
        """Return class names, and probabilities of shape (N, classes)."""
        return _named(self.outputs(logits), class_names)

    def outputs(self, logits: Tensor) -> Tensor:
        """Return probabilities (N, classes)."""
        return torch.softmax(logits.float(), dim=-1)


class RegressionTask:
    """Numbers: one output for each, float targets of shape (N, outputs)."""

    monitor = Monitor("loss/val", "min")

    def metrics(self, num_outputs: int) -> MetricCollection:
        """Return MAE, RMSE and R2 (averaged over outputs), in the targets' own units."""
        return MetricCollection(
            {
                "mae": MeanAbsoluteError(),
                "rmse": MeanSquaredError(squared=False),
                "r2": R2Score(),
            }
        )

    def compute(self, metrics: MetricCollection) -> dict[str, Tensor]:
        """Return the metrics by name; R2 only of two examples or more."""
        defined = {n: m for n, m in metrics.items() if not isinstance(m, R2Score) or m.total > 1}
        return {name: metric.compute() for name, metric in defined.items()}

    def metric_inputs(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return values and targets, both (N, outputs)."""
        return logits.float(), target.reshape(logits.shape).float()

    def correct(self, logits: Tensor, target: Tensor) -> None:
        """Return nothing: no number is simply right."""
        return None

    def predict(self, logits: Tensor, class_names: list[str]) -> dict[str, Any]:
        """Return the values, of shape (N, outputs)."""
        return {"prediction": self.outputs(logits)}

    def outputs(self, logits: Tensor) -> Tensor:
        """Return the values (N, outputs)."""
        return logits.float()


Task = BinaryTask | MulticlassTask | RegressionTask
TASKS: dict[str, type[Task]] = {
    "binary": BinaryTask,
    "multiclass": MulticlassTask,
    "regression": RegressionTask,
}


def build_task(name: str) -> Task:
    """Return the task of that name."""
    if name not in TASKS:
        raise UserError(f"There is no task '{name}'; known: {', '.join(TASKS)}.")
    return TASKS[name]()


def _named(probabilities: Tensor, class_names: list[str]) -> dict[str, Any]:
    best = probabilities.argmax(dim=-1).tolist()
    return {"prediction": [class_names[i] for i in best], "probabilities": probabilities}
