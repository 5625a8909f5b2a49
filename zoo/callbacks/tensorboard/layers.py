"""Layer by layer: the weights that look first, weights, gradients, and units that never fire."""

from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Trainer
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import make_grid

from zoo.callbacks.tensorboard.data import Epoch, chunks, is_image, on_cpu
from zoo.callbacks.tensorboard.figures import columns_of, new_figure
from zoo.module import ZooModule

FILTERS = 36
BINS = 64  # TensorBoard's own are 1,500
EXAMPLES = 512
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU)


def draw_first_layer(writer: SummaryWriter, model: ZooModule, trainer: Trainer, step: int) -> None:
    """Draw the weights of the first layer after the preprocessing and its embeddings."""
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and not name.startswith("preprocess."):
            figure = weights_figure(on_cpu(weight), model.feature_shape, name)
            writer.add_figure("weights/first_layer", figure, step, close=False)
            return


def weights_figure(weight: Tensor, feature_shape: tuple[int, ...], name: str) -> Figure:
    """Draw a weight (out, ...) as pictures if its inputs are pixels, else as a matrix."""
    rows = weight.flatten(1)
    limit = float(rows.abs().quantile(0.995)) if rows.numel() < 2**24 else float(rows.abs().max())
    options: dict[str, Any] = {"interpolation": "nearest", "cmap": "RdBu_r"}
    options |= {"vmin": -limit, "vmax": limit}
    figure = new_figure(6.4, 5.4)
    axes = figure.add_subplot()
    if is_image(feature_shape) and rows.shape[1] == torch.Size(feature_shape).numel():
        weight = weight.reshape(-1, *feature_shape)
    if weight.ndim == 4:
        # Colors stand for signs, so of a color image's channels the mean is drawn.
        filters = weight[:FILTERS].mean(dim=1, keepdim=True)
        columns = columns_of(len(filters))
        grid = make_grid(filters, nrow=columns, padding=1, pad_value=float("nan"))[0]
        image = axes.imshow(grid.numpy(), **options)
        axes.set_axis_off()
        shown = f"{len(filters)} of {len(weight)} filters"
    else:
        image = axes.imshow(rows.numpy(), aspect="auto", **options)
        axes.locator_params(integer=True)
        axes.set(xlabel="input", ylabel="unit")
        shown = f"{len(rows)} x {rows.shape[1]}"
    axes.set_title(f"{name}: {shown}", fontsize=11)
    figure.colorbar(image, ax=axes, shrink=0.7, label="weight")
    return figure


def write_gradients(
    writer: SummaryWriter, model: ZooModule, optimizer: Optimizer, step: int
) -> None:
    """Write a histogram of the gradient of every parameter that has one."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            add_histogram(writer, f"gradients/{name}", parameter.grad, step)


def write_weights(writer: SummaryWriter, model: ZooModule, epoch: Epoch, step: int) -> None:
    """Write a histogram of every parameter."""
    for name, parameter in model.named_parameters():
        add_histogram(writer, f"weights/{name}", parameter, step)


def add_histogram(writer: SummaryWriter, tag: str, values: Tensor, step: int) -> None:
    """Write a histogram of the values that are finite, if there are any."""
    values = on_cpu(values)
    values = values[values.isfinite()]
    if len(values):
        writer.add_histogram(tag, values, step, bins=BINS)


def write_dead_relus(writer: SummaryWriter, model: ZooModule, epoch: Epoch, step: int) -> None:
    """Write how many units are zero (or below) for all of up to 512 validation examples."""
    x, target = epoch.splits.get("val", ((), ()))
    if len(target):
        batch = next(chunks(model, x, min(len(target), EXAMPLES)))
        for name, share in dead_shares(model, batch).items():
            writer.add_scalar(f"dead_relu/{name}", share, step)


def dead_shares(model: ZooModule, x: Tensor) -> dict[str, float]:
    """Return for each ReLU and its kin the share of units that are positive for no example.

    Args:
        model: The network.
        x: Raw examples (N, ...), on the network's device.
    """
    shares: dict[str, float] = {}

    def count(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # A unit is a channel of an image, and one of the last dimension of anything else.
        units = output.movedim(1, -1) if output.ndim == 4 else output
        shares[name] = float((units <= 0).flatten(0, -2).all(dim=0).float().mean())

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, ACTIVATIONS):
                stack.enter_context(module.register_forward_hook(partial(count, name)))
        model(x)
    return shares
