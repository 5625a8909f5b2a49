"""LightningDataModules: whole batches out of in-memory tensors, for any Lightning model.

Names are resolved when first used, so importing the package imports no torch.
"""

import importlib
from typing import Any

_HOMES = {
    "MNIST": "images",
    "FashionMNIST": "images",
    "ImageFiles": "image_files.datamodule",
    "LogicGate": "gates",
    "FizzBuzz": "fizzbuzz",
    "GaussianBlobs": "vectors",
    "InlineData": "vectors",
    "TextCSV": "text",
    "Tabular": "tabular.datamodule",
    "TensorBatches": "batches",
    "TensorDataModule": "base",
    "UserError": "errors",
}
#: Names of before version 0.2, which configurations and cards may still have.
_RENAMED = {"Generated": "GaussianBlobs", "Values": "InlineData"}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    name = _RENAMED.get(name, name)
    if name not in _HOMES:
        raise AttributeError(f"module 'datamodules' has no attribute '{name}'")
    return getattr(importlib.import_module(f"datamodules.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
