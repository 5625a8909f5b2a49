"""What every inspection needs: TensorBoard's writer, and the test split with its predictions."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from datamodules.batches import take
from zoo.module import ZooModule

CHUNK = 1024


def board(trainer: Trainer) -> SummaryWriter | None:
    """Return the writer of the run's event file, on the first process of a run that has one."""
    if not trainer.is_global_zero:
        return None
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            return logger.experiment
    return None


def is_due(trainer: Trainer, times: int) -> bool:
    """Tell whether this epoch is one of `times` evenly spread over the run, first and last too.

    A run of 5,000 epochs must not be drawn 5,000 times. Where the number of epochs is open, the
    epochs 1, 2, 4, 8, ... are due.
    """
    epoch, count = trainer.current_epoch, trainer.max_epochs
    if count is None or count < 0:
        return (epoch + 1).bit_count() == 1
    if count <= times or epoch == count - 1:
        return True
    # Epoch e is due where the number of spaces passed grows.
    spaces = times - 1
    return epoch == 0 or epoch * spaces // (count - 1) > (epoch - 1) * spaces // (count - 1)


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


def as_batch(module: ZooModule, x: Any) -> Any:
    """Return raw examples where the network is, floats in its precision."""
    dtype = next(module.parameters()).dtype

    def moved(part: Tensor) -> Tensor:
        return part.to(module.device, dtype) if part.is_floating_point() else part.to(module.device)

    return apply_to_collection(x, Tensor, moved)


def chunks(module: ZooModule, x: Any, count: int, size: int = CHUNK) -> Iterator[Any]:
    """Yield the first `count` raw examples as batches for the network."""
    for index in torch.arange(count).split(size):
        yield as_batch(module, take(x, index))


def on_cpu(tensor: Tensor) -> Tensor:
    """Return a tensor without gradient in the CPU's memory, with floats of 32 bits."""
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor


def is_image(shape: Any) -> bool:
    """Tell whether an example of this shape is an image (C, H, W) of one or three channels."""
    return len(shape) == 3 and shape[0] in (1, 3)


def image_shape(pl_module: ZooModule) -> tuple[int, ...] | None:
    """Return the shape (C, H, W) of the network's images; None if it reads something else."""
    shape = tuple(pl_module.spec.input_shape)
    images = pl_module.spec.preprocessing["kind"] == "pixels" and is_image(shape)
    return shape if images else None


@dataclass(frozen=True)
class Outcome:
    """The test split and what the network predicts for it, on the CPU.

    Attributes:
        x: Raw inputs (N, ...), or several of them; None if no datamodule of the run holds them.
        target: Class indices (N,), or values (N, outputs) for regression.
        scores: Probabilities (N, classes), two columns if binary; predicted values (N, outputs)
            for regression.
        task: `binary`, `multiclass` or `regression`.
        class_names: Names of the classes.
        step: Where on the horizontal axis this is.
    """

    x: Any
    target: Tensor
    scores: Tensor
    task: str
    class_names: list[str]
    step: int

    @property
    def predicted(self) -> Tensor:
        """The predicted class of each example (N,)."""
        return self.scores.argmax(dim=1)


def outcome(trainer: Trainer, pl_module: ZooModule) -> Outcome | None:
    """Return the test split with its predictions, while the test epoch ends; None if empty."""
    held = getattr(trainer.datamodule, "splits", {}).get("test")
    if trainer.world_size == 1:
        found = pl_module.predictions("test")
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
        with evaluating(pl_module):
            parts = [pl_module(part) for part in chunks(pl_module, x, len(target))]
        scores, target = pl_module.task.metric_inputs(torch.cat(parts).cpu(), target)
    scores, target = on_cpu(scores), on_cpu(target)
    task = pl_module.spec.task
    if task == "binary":
        scores = torch.stack([1 - scores, scores], dim=1)
    return Outcome(x, target, scores, task, list(pl_module.class_names), trainer.global_step)


class OutcomeInspector(Callback):
    """A callback that shows something of the test split, once, at the end of the run."""

    #: The tasks that it can show.
    tasks: tuple[str, ...] = ("binary", "multiclass")

    def inspect(self, writer: SummaryWriter, shown: Outcome, pl_module: ZooModule) -> None:
        """Write what is to be shown."""
        raise NotImplementedError

    def on_test_epoch_end(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Show the test split, if the network has a task that this inspection is for."""
        writer = board(trainer)
        if writer is None or pl_module.spec.task not in self.tasks:
            return
        shown = outcome(trainer, pl_module)
        if shown is not None:
            with spared(type(self).__name__):
                self.inspect(writer, shown, pl_module)


@contextmanager
def spared(name: str) -> Iterator[None]:
    """Turn a failure to show something into a warning: hours of training must not be lost by it.

    A full disk is not such a failure; it would cost the run's weights too.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        warnings.warn(f"TensorBoard lacks {name}: {text}", stacklevel=3)
