"""The network classes, one file per family, imported when first used."""

import importlib
from typing import Any

_HOMES = {
    "FeedForward": "feedforward",
    "ConvNet": "convolutional",
    "Backbone": "backbone",
    "Recurrent": "recurrent",
    "LSTMCellNet": "recurrent",
    "TabularNet": "tabular",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo.architectures' has no attribute '{name}'")
    return getattr(importlib.import_module(f"zoo.architectures.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
