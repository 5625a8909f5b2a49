"""Initializations by name, applied to all weights with `nn.Module.apply`."""

from torch import nn

from zoo.learning import InitName


def initialize(module: nn.Module, name: InitName) -> None:
    """Fill every weight of two dimensions or more with `torch.nn.init`'s function of that name.

    Biases and norm layers keep their own. `uniform` draws from 0 to 1, as in document 002, "Layer
    Initialization and Fine Tuning".

    Args:
        module: The network to initialize.
        name: Name of the initialization; `default` leaves each layer's own.
    """
    if name == "default":
        return
    function = getattr(nn.init, f"{name}_")

    def fill(layer: nn.Module) -> None:
        for parameter in layer.parameters(recurse=False):
            if parameter.ndim > 1:
                function(parameter)

    module.apply(fill)
