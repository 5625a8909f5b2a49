"""What panels are given to show: the end of an epoch, and the test split with its predictions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from datamodules.batches import take
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
        x: Raw inputs (N, ...), or several of them; None if no datamodule of the run holds them.
        target: Class indices (N,), or values (N, outputs) for regression.
        scores: Probabilities (N, classes), two columns if binary; predicted values (N, outputs)
            for regression.
    """

    x: Any
    target: Tensor
    scores: Tensor

    @property
    def predicted(self) -> Tensor:
        """The predicted class of each example (N,)."""
        return self.scores.argmax(dim=1)


def test_predictions(trainer: Trainer, model: ZooModule) -> TestPredictions | None:
    """Return the test split with its predictions, while the test epoch ends; None if empty."""
    held = getattr(getattr(trainer, "datamodule", None), "splits", {}).get("test")
    if trainer.world_size == 1:
        found = model.predictions("test")
        if found is None:
            return None
        scores, target = found
        # Lightning may have been told to test on a part, which is then the first part.
        x = None if held is None else take(held[0], torch.arange(len(target)))
    elif held is None:
        return None
    else:
        # This process has seen its own share of the test split alone.
        x, target = held
        with evaluating(model):
            scores = torch.cat([model(part).cpu() for part in chunks(model, x, len(target))])
        scores, target = model.task.metric_inputs(scores, target)
    scores, target = on_cpu(scores), on_cpu(target)
    if model.spec.task == "binary":
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


def as_batch(model: ZooModule, x: Any) -> Any:
    """Return raw examples where the network is, floats in its precision."""
    dtype = next(model.parameters()).dtype

    def moved(part: Tensor) -> Tensor:
        return part.to(model.device, dtype) if part.is_floating_point() else part.to(model.device)

    return apply_to_collection(x, Tensor, moved)


def chunks(model: ZooModule, x: Any, count: int, size: int = CHUNK) -> Iterator[Any]:
    """Yield the first `count` raw examples as batches for the network."""
    for index in torch.arange(count).split(size):
        yield as_batch(model, take(x, index))


def on_cpu(tensor: Tensor) -> Tensor:
    """Return a tensor without gradient in the CPU's memory, with floats of 32 bits."""
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor


def is_image(shape: Sequence[int]) -> bool:
    """Tell whether an example of this shape is an image (C, H, W) of one or three channels."""
    return len(shape) == 3 and shape[0] in (1, 3)


def image_shape(model: ZooModule) -> tuple[int, ...] | None:
    """Return the shape (C, H, W) of the network's images; None if it reads something else."""
    shape = tuple(model.spec.input_shape)
    return shape if model.spec.preprocessing["kind"] == "pixels" and is_image(shape) else None
