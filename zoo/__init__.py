"""The textbook's neural networks as LightningModules.

Names are resolved when first used: `import zoo` imports no torch.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "create_datamodule": "zoo.registry",
    "create_model": "zoo.registry",
    "model_card": "zoo.registry",
    "find_recipe": "zoo.recipe",
    "list_models": "zoo.recipe",
    "export_model": "zoo.deployment.export",
    "load_weights": "zoo.weights",
    "save_weights": "zoo.weights",
    "fit": "zoo.running.fitting",
    "sweep": "zoo.sweeping.sweep",
    "DataSpec": "datamodules.spec",
    "Learning": "zoo.learning",
    "ZooModule": "zoo.module",
    "TabularClassifier": "zoo.estimators",
    "TabularRegressor": "zoo.estimators",
    "UserError": "zoo.errors",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
