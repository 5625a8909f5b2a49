"""How a network reads raw input. It is part of the network, so it travels with the weights."""

from zoo.preprocessing.batches import inputs_of
from zoo.preprocessing.in_memory import as_batch
from zoo.preprocessing.modules import build, example_input, read_the_same, structure

__all__ = ["as_batch", "build", "example_input", "inputs_of", "read_the_same", "structure"]
