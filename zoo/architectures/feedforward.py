"""Fully connected networks: most of the documents' networks are recipes of this one class."""

import math
from typing import Any, Literal

from torch import Tensor, nn

from datamodules.spec import DataSpec
from zoo.errors import UserError
from zoo.module import ZooModule

ActivationName = Literal[
    "none", "sigmoid", "tanh", "relu", "leaky_relu", "prelu", "softmax", "gelu", "silu"
]
NormName = Literal["none", "batch", "layer"]
StepName = Literal["norm", "activation", "dropout"]

MOST_LAYERS = 10_000  # which take a second to make

NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def activation_layer(name: ActivationName, negative_slope: float = 0.01) -> nn.Module:
    """Return a new activation layer of that name; softmax goes over the last dimension."""
    layers: dict[str, Any] = {
        "none": nn.Identity,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "relu": nn.ReLU,
        "leaky_relu": lambda: nn.LeakyReLU(negative_slope),
        "prelu": nn.PReLU,
        "softmax": lambda: nn.Softmax(dim=-1),
        "gelu": nn.GELU,
        "silu": nn.SiLU,
    }
    return layers[name]()


class FeedForward(ZooModule):
    """Linear layers with an activation, and on request normalization and dropout, between them.

    Document 003, "Feedforward Neural Network" (class FeedForwardNN). The last hidden layer's
    output is the features; one linear layer on top of it is the head.

    Shape: (N, *input_shape), flattened -> (N, num_outputs).

    Args:
        spec: The data that it is for.
        hidden_dim: Width of every hidden layer, or a list with one width for each.
        num_hidden: Number of hidden layers, if `hidden_dim` is one width; 0 makes it linear.
        activation: Activation of the hidden layers.
        negative_slope: Slope of `leaky_relu` below zero.
        norm: Normalization of the hidden layers: one for all, or a list with one for each.
        dropout: Share of the hidden units that are dropped out in training.
        output_dropout: Share of the outputs that are dropped out in training.
        layer_order: What follows each linear layer, in order.
        bias: Give the linear layers a bias.
        sizes: Inputs and outputs of every linear layer, the head too, as the documents write them
            (`[[3, 20], [20, 2]]`), instead of `hidden_dim`; they are checked against each other.

    Raises:
        UserError: If widths are not positive, or lists differ in length.
    """

    def __init__(
        self,
        spec: DataSpec,
        hidden_dim: int | list[int] = 512,
        num_hidden: int | None = None,
        activation: ActivationName = "relu",
        negative_slope: float = 0.01,
        norm: NormName | list[NormName] = "none",
        dropout: float = 0.0,
        output_dropout: float = 0.0,
        layer_order: list[StepName] = ["norm", "activation", "dropout"],  # noqa: B006
        bias: bool = True,
        sizes: list[list[int]] | None = None,
    ) -> None:
        super().__init__(spec)
        in_features, num_outputs = math.prod(self.feature_shape), self.num_outputs
        if sizes is None:
            widths = hidden_widths(hidden_dim, num_hidden)
        else:
            widths = chained_widths(sizes, in_features, num_outputs)
        norms = norm if isinstance(norm, list) else [norm] * len(widths)
        if len(norms) != len(widths):
            raise UserError(
                f"--model.norm names {len(norms)} normalizations for {len(widths)} hidden layers."
            )
        self.backbone = nn.Sequential(nn.Flatten())
        for width, norm_name in zip(widths, norms, strict=True):
            self.backbone.append(nn.Linear(in_features, width, bias=bias))
            steps = {
                "norm": NORMS[norm_name](width) if norm_name != "none" else None,
                "activation": activation_layer(activation, negative_slope)
                if activation != "none"
                else None,
                "dropout": nn.Dropout(dropout) if dropout else None,
            }
            chosen = (steps[step] for step in layer_order)
            self.backbone.extend(layer for layer in chosen if layer is not None)
            in_features = width
        self.head = nn.Linear(in_features, num_outputs, bias=bias)
        # A layer that drops nothing takes 4 of the 130 microseconds of an update of XOR.
        self.output_dropout = nn.Dropout(output_dropout) if output_dropout else None

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the head's outputs, some of them dropped out in training if so asked."""
        outputs = self.head(features)
        return outputs if self.output_dropout is None else self.output_dropout(outputs)


def hidden_widths(hidden_dim: int | list[int], num_hidden: int | None) -> list[int]:
    """Return the width of each hidden layer."""
    if num_hidden is not None and not 0 <= num_hidden <= MOST_LAYERS:
        raise UserError(f"--model.num_hidden is from 0 to {MOST_LAYERS:,}, not {num_hidden}.")
    if isinstance(hidden_dim, list):
        widths = hidden_dim
        if num_hidden not in (None, len(widths)):
            raise UserError(
                f"--model.num_hidden {num_hidden} contradicts --model.hidden_dim {hidden_dim}, "
                f"which lists {len(widths)}."
            )
    else:
        widths = [hidden_dim] * (1 if num_hidden is None else num_hidden)
    for width in widths:
        if width < 1:
            raise UserError(f"--model.hidden_dim must be positive, but {width} is not.")
    return list(widths)


def chained_widths(sizes: list[list[int]], in_features: int, num_outputs: int) -> list[int]:
    """Return the hidden widths of linear layers given by inputs and outputs.

    Raises:
        UserError: If a layer does not take what the one before it gives.
    """
    if not sizes or any(len(size) != 2 for size in sizes):
        raise UserError(f"--model.sizes needs [inputs, outputs] for each layer, not {sizes}.")
    giver, given = "the data", in_features
    for number, (inputs, outputs) in enumerate(sizes, start=1):
        if inputs != given:
            raise UserError(
                f"Linear layer {number} ({inputs} to {outputs}) takes {inputs} inputs, but "
                f"{giver} gives {given}. Make it [{given}, {outputs}]."
            )
        giver, given = f"linear layer {number} ({inputs} to {outputs})", outputs
    if given != num_outputs:
        raise UserError(f"The data ask for {num_outputs} outputs, but {giver} gives {given}.")
    return [outputs for _, outputs in sizes[:-1]]
