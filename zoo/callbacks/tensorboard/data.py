"""What panels are given to show: the end of an epoch, and the test split with its predictions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from zoo.module import ZooModule

CHUNK = 1024


class Epoch(NamedTuple):
    """The end of an epoch.

    Attributes:
        number: Of the epoch, from 1.
        splits: Raw inputs and targets of `train`, `val` and `test`, as far as they are known.
        examples_per_second: On all processes together, without validation.
    """

    number: int
    splits: Mapping[str, tuple[Tensor, Tensor]]
    examples_per_second: float


@dataclass(frozen=True)
class TestPredictions:
    """The test split and what the network predicts for it, on the CPU.

    Attributes:
        x: Raw inputs (N, ...); None if the run has no datamodule that holds them.
        target: Class indices (N,), or values (N, outputs) for regression.
        scores: Probabilities (N, classes), two columns if binary; predicted values (N, outputs)
            for regression.
    """

    x: Tensor | None
    target: Tensor
    scores: Tensor

    @property
    def predicted(self) -> Tensor:
        """The predicted class of each example (N,)."""
        return self.scores.argmax(dim=1)


def test_predictions(trainer: Trainer, model: ZooModule) -> TestPredictions | None:
    """Return the test split with its predictions, while the test epoch ends; None if empty."""
    held = getattr(trainer.datamodule, "splits", {}).get("test")
    if trainer.world_size == 1:
        found = model.evaluated("test")
        if found is None:
            return None
        scores, target = found
        # Lightning may have been told to test on a part, which is then the first part.
        x = None if held is None else held[0][: len(target)]
    elif held is None:
        return None
    else:
        # This process has seen its own share of the test split alone.
        x, target = held
        with evaluating(model):
            scores = torch.cat([model(as_batch(model, part)).cpu() for part in x.split(CHUNK)])
        scores, target = model.task.metric_inputs(scores, target)
    scores, target = on_cpu(scores), on_cpu(target)
    if model.hparams["task"] == "binary":
        scores = torch.stack([1 - scores, scores], dim=1)
    return TestPredictions(x, target, scores)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Run a network in evaluation mode without gradients, and leave it as it was."""
    training = [(m, m.training) for m in module.modules()]
    try:
        for m, _ in training:
            m.training = False
        with torch.no_grad():
            yield
    finally:
        for m, mode in training:
            m.training = mode


def as_batch(model: ZooModule, x: Tensor) -> Tensor:
    """Return raw examples where the network is, floats in its precision."""
    dtype = next(model.parameters()).dtype
    return x.to(model.device, dtype) if x.is_floating_point() else x.to(model.device)


def on_cpu(tensor: Tensor) -> Tensor:
    """Return a tensor without gradient in the CPU's memory, with floats of 32 bits."""
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor


def is_image(shape: Sequence[int]) -> bool:
    """Tell whether an example of this shape is an image (C, H, W) of one or three channels."""
    return len(shape) == 3 and shape[0] in (1, 3)


def image_shape(model: ZooModule) -> tuple[int, ...] | None:
    """Return the shape (C, H, W) of the network's images; None if it reads something else."""
    shape = tuple(model.hparams["input_shape"])
    return shape if model.hparams["preprocessing"]["kind"] == "pixels" and is_image(shape) else None
