"""Entry points for `torch.hub.load("zoo", "mnist_net", source="local", pretrained=True)`."""

import sys
from functools import partial
from pathlib import Path

# torch.hub puts this folder on the path, not the checkout that holds the packages.
sys.path.append(str(Path(__file__).parent.parent))

from zoo.recipe import list_models
from zoo.registry import create_model

dependencies = ["torch", "lightning", "torchmetrics", "safetensors", "yaml"]

globals().update({name: partial(create_model, name) for name in list_models()})
