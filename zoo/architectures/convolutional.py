"""Convolutional networks."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from datamodules.spec import MOST_NUMBERS, DataSpec
from zoo.architectures.feedforward import ActivationName, activation_layer
from zoo.errors import UserError
from zoo.module import ZooModule

# The height and width of the images that the documented network is for.
DOCUMENTED_SIDE = 28


def _map_side(side: int, layers: int, kernel_size: int, pool: int) -> int:
    """Return the height of the last maps of images of this height."""
    for _ in range(layers):
        side = (side - kernel_size + 1) // pool
    return side


class ConvNet(ZooModule):
    """Convolutions, each with an activation and a pooling; then, if asked, a hidden layer; a head.

    Document 003, "Sequential": Conv2d(1, 20, 5), ReLU, Conv2d(20, 64, 5), ReLU. The document stops
    there; pooling, hidden layer and head are ours, so that it classifies.

    Shape: (N, channels, height, width) -> (N, num_outputs).

    Args:
        spec: The data that it is for.
        channels: Output channels of each convolution.
        kernel_size: Height and width of every kernel.
        pool: Height and width over which each convolution's output is max-pooled; 1 for none.
        activation: Activation of convolutions and hidden layer.
        hidden_dim: Width of a hidden layer before the head; 0 for none.
        dropout: Share of the features before the head that are dropped out in training.
        grid: Height and width to which the last maps are averaged. Default: not at all up to
            images of 28 x 28; those of larger ones to the size that 28 x 28 gives.
        conv_dropout: Share of whole channels dropped out behind each pooling in training.

    Raises:
        UserError: If the data are no images, or too small for the kernels.
    """

    def __init__(
        self,
        spec: DataSpec,
        channels: list[int] = [20, 64],  # noqa: B006
        kernel_size: int = 5,
        pool: int = 2,
        activation: ActivationName = "relu",
        hidden_dim: int = 0,
        dropout: float = 0.0,
        conv_dropout: float = 0.0,
        grid: list[int] | None = None,
    ) -> None:
        super().__init__(spec)
        sizes = {"channels": min(channels, default=1), "kernel_size": kernel_size, "pool": pool}
        for option, value in {**sizes, "hidden_dim": hidden_dim + 1}.items():
            if value < 1:
                raise UserError(f"--model.{option} must be positive.")
        if len(self.feature_shape) != 3:
            raise UserError(
                f"{type(self).__name__} reads images (channels, height, width), "
                f"but these data have the shape {tuple(self.feature_shape)}."
            )
        in_channels, height, width = self.feature_shape
        needed = 1
        for _ in channels:
            needed = min(needed * pool + kernel_size - 1, MOST_NUMBERS)
        if grid is not None and (len(grid) != 2 or min(grid) < 1):
            raise UserError(f"--model.grid is a height and a width, both positive, not {grid}.")
        if min(height, width) < needed:
            raise UserError(
                f"{type(self).__name__} needs images of {needed} x {needed} pixels or more for "
                f"{len(channels)} kernels of {kernel_size}, not {height} x {width}."
            )
        self.backbone = nn.Sequential()
        for out_channels in channels:
            self.backbone.append(nn.Conv2d(in_channels, out_channels, kernel_size))
            self.backbone.append(activation_layer(activation))
            if pool > 1:
                self.backbone.append(nn.MaxPool2d(pool))
            if conv_dropout:
                self.backbone.append(nn.Dropout2d(conv_dropout))
            in_channels = out_channels
        pooled = grid or [_map_side(DOCUMENTED_SIDE, len(channels), kernel_size, pool)] * 2
        is_averaged = bool(grid) or (max(height, width) > DOCUMENTED_SIDE and pooled[0] > 0)
        self._grid = pooled if is_averaged else None
        if is_averaged:
            pooling = nn.AdaptiveAvgPool2d((pooled[0], pooled[1]))
            # In the place of Flatten, so that the layers behind it keep their numbers.
            self.backbone.append(nn.Sequential(pooling, nn.Flatten()))
        else:
            self.backbone.append(nn.Flatten())
        with torch.no_grad():
            shapes = copy.deepcopy(self.backbone).to("meta")  # costs nothing, whatever the size
            features = shapes(torch.zeros(1, *self.feature_shape, device="meta")).shape[1]
        if hidden_dim:
            self.backbone.append(nn.Linear(features, hidden_dim))
            self.backbone.append(activation_layer(activation))
            features = hidden_dim
        if dropout:
            self.backbone.append(nn.Dropout(dropout))
        # 256 images, forward and backward on one CPU core: 57 ms, not 86; in bfloat16 37, not 69.
        self.backbone.to(memory_format=torch.channels_last)
        self.head = nn.Linear(features, self.num_outputs)

    def arguments_at(self, input_shape: Sequence[int]) -> dict[str, Any]:
        """Return arguments for images of another size: the same grid before the linear layers."""
        *_, height, width = self.feature_shape
        if tuple(input_shape[-2:]) == (height, width):
            return {}
        layers = len(self.hparams["channels"])
        kernel_size, pool = self.hparams["kernel_size"], self.hparams["pool"]
        sides = [_map_side(side, layers, kernel_size, pool) for side in (height, width)]
        return {"grid": self._grid or sides}
