"""XOR, AND and OR: the four-example tables on which the documents show what one layer can do."""

from typing import Any, Literal

import torch

from datamodules.base import Split, Task, TensorDataModule
from datamodules.batches import TensorBatches
from datamodules.errors import UserError

GateName = Literal["xor", "and", "or"]
OUTPUTS: dict[str, list[float]] = {
    "xor": [0, 1, 1, 0],
    "and": [0, 0, 0, 1],
    "or": [0, 1, 1, 1],
}


class LogicGate(TensorDataModule):
    """The truth table of a logic gate: inputs (0,0), (0,1), (1,0), (1,1) in this order.

    The table is all there is, so it is training, validation and test split at once. Document 003,
    "Example: Logistic Regression", trains on XOR.

    Args:
        gate: `xor`, `and` or `or`.
        replacement: Draw the four examples of an epoch with replacement, as document 003 does.
        repeats: Copies of the table in an epoch.
        batch_size: Examples in a training batch.
        seed: Not used: there is nothing to split.
        shuffle: Draw a new order every epoch.
    """

    task: Task = "binary"
    origin = "exact"

    def __init__(
        self,
        gate: GateName = "xor",
        replacement: bool = False,
        repeats: int = 1,
        batch_size: int = 4,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, shuffle=shuffle)
        if repeats < 1:
            raise UserError(f"--data.repeats must be at least 1, not {repeats}.")
        self.gate = gate
        self.replacement = replacement
        self.repeats = repeats

    @property
    def class_names(self) -> list[str]:
        """The gate's outputs."""
        return ["0", "1"]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Two inputs."""
        return (2,)

    def load_splits(self) -> dict[str, Split]:
        """Write the table down."""
        inputs = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        table = inputs, torch.tensor(OUTPUTS[self.gate], dtype=torch.float32)
        train = inputs.repeat(self.repeats, 1), table[1].repeat(self.repeats)
        return {"train": train, "val": table, "test": table}

    def train_dataloader(self) -> TensorBatches:
        """Return the training batches, drawn with replacement if so asked."""
        options: dict[str, Any] = {"replacement": self.replacement, "shuffle": self.shuffle}
        return self._batches("train", self.batch_size, join_single=True, **options)
