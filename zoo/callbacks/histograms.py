"""Weights, gradients and units that never fire, layer by layer over time."""

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from zoo.callbacks.board import board, chunks, evaluating, is_due, spared
from zoo.module import ZooModule

TIMES = 20  # over a run
BINS = 64
EXAMPLES = 512
# TensorBoard's own histograms of 400,000 weights take 40 ms and 1,500 bins each; these take 2 ms.
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU)


class LayerHistograms(Callback):
    """Writes `weights/LAYER`, `gradients/LAYER` and `dead_relu/LAYER` up to 20 times in a run.

    Gradients are those of the epoch's first update; a unit is dead if it is zero (or below) for
    all of up to 512 validation examples.
    """

    def __init__(self) -> None:
        self._takes_gradients = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Take the next gradients if this epoch is due."""
        self._takes_gradients = is_due(trainer, TIMES)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: ZooModule, optimizer: Optimizer
    ) -> None:
        """Write the gradients once in an epoch that is due."""
        if not self._takes_gradients:
            return
        self._takes_gradients = False
        writer = board(trainer)
        if writer is None:
            return
        for name, parameter in pl_module.named_parameters():
            if parameter.grad is not None:
                add_histogram(writer, f"gradients/{name}", parameter.grad, trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Write the weights, and the share of dead units of each layer."""
        writer = board(trainer)
        if writer is None or not is_due(trainer, TIMES):
            return
        step = trainer.global_step
        for name, parameter in pl_module.named_parameters():
            add_histogram(writer, f"weights/{name}", parameter, step)
        splits = getattr(trainer.datamodule, "splits", {})
        if "val" in splits and len(splits["val"][1]):
            with spared("the dead units"):
                x, target = splits["val"]
                x = next(chunks(pl_module, x, min(len(target), EXAMPLES)))
                for name, share in dead_shares(pl_module, x).items():
                    writer.add_scalar(f"dead_relu/{name}", share, step)


def add_histogram(writer: SummaryWriter, tag: str, values: Tensor, step: int) -> None:
    """Write a histogram of 64 equal bins, counted where the values are."""
    values = values.detach().flatten().float()
    values = values[values.isfinite()]
    if not len(values):
        return
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts = torch.histc(values, BINS, low, high)
    writer.add_histogram_raw(
        tag,
        min=low,
        max=high,
        num=len(values),
        sum=float(values.sum()),
        sum_squares=float(values.square().sum()),
        bucket_limits=torch.linspace(low, high, BINS + 1)[1:].tolist(),
        bucket_counts=counts.tolist(),
        global_step=step,
    )


def dead_shares(model: ZooModule, x: Tensor) -> dict[str, float]:
    """Return for each ReLU and its kin the share of units that are positive for no example.

    Args:
        model: The network.
        x: Raw examples (N, ...), on the network's device.
    """
    shares: dict[str, float] = {}

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def count(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            # A unit is a channel of an image, and one of the last dimension of anything else.
            rest = (0, 2, 3) if output.ndim == 4 else tuple(range(output.ndim - 1))
            shares[name] = float((output <= 0).all(dim=rest).float().mean())

        return module.register_forward_hook(count)

    watched = [watch(n, m) for n, m in model.named_modules() if isinstance(m, ACTIVATIONS)]
    try:
        if watched:
            with evaluating(model):
                model(x)
    finally:
        for handle in watched:
            handle.remove()
    return shares
