"""A network's layers, one row for each, with the shapes that they give."""

import torch
from torch import Tensor, nn


def layer_rows(model: nn.Module) -> list[list[str]]:
    """Run the example input through a network and describe each layer that does something.

    Args:
        model: A network of the zoo.

    Returns:
        Rows of name, kind, output shape without the batch dimension, and number of parameters.
    """
    rows: list[list[str]] = []

    def describe(name: str, layer: nn.Module) -> None:
        def hook(_: nn.Module, __: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) else output
            shape = " x ".join(map(str, first.shape[1:])) if isinstance(first, Tensor) else ""
            count = sum(p.numel() for p in layer.parameters())
            rows.append([name, _kind(layer), shape, f"{count:,}" if count else ""])

        handles.append(layer.register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for name, layer in model.named_modules():
        if name and not any(layer.children()):
            describe(name, layer)
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(model.example_input_array)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return rows


def _kind(layer: nn.Module) -> str:
    return str(layer).partition("\n")[0].removesuffix("()")
