"""Vectors for the documents' small stacks, which they show without any data."""

from typing import Any

import torch
from torch import Tensor

from datamodules.base import Split, Task, TensorDataModule
from datamodules.batches import derived_seed
from datamodules.errors import UserError


class GaussianBlobs(TensorDataModule):
    """Gaussian blobs to tell apart, or a smooth function of Gaussian vectors to fit.

    Classes are Gaussian clusters of standard deviation 1 around centres drawn with standard
    deviation `separation`; numbers are a linear function of the features plus a smaller tanh of
    another one, and noise.

    Args:
        num_features: Numbers in an example.
        task: `binary`, `multiclass` or `regression`.
        num_outputs: Classes, or numbers to predict; 1 if binary.
        num_examples: Training examples; validation and test have 1,000 each.
        separation: Spread of the class centres; 1 makes them overlap.
        noise: Standard deviation of what is added to the numbers to predict.
        batch_size: Examples in a training batch.
        seed: Seed of the formula and of the examples.
        shuffle: Draw a new order every epoch.
    """

    origin = "exact"

    def __init__(
        self,
        num_features: int = 10,
        task: Task = "multiclass",
        num_outputs: int = 2,
        num_examples: int = 2000,
        separation: float = 1.5,
        noise: float = 0.1,
        batch_size: int = 32,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, shuffle=shuffle)
        sizes = {"num_features": num_features, "num_outputs": num_outputs}
        for option, size in {**sizes, "num_examples": num_examples}.items():
            if size < 1:
                raise UserError(f"--data.{option} must be at least 1, not {size}.")
        if task == "multiclass" and num_outputs < 2:
            raise UserError("A multiclass task needs --data.num_outputs 2 or more.")
        self.task = task
        self.num_features = num_features
        self.classes_or_outputs = 1 if task == "binary" else num_outputs
        self.num_examples = num_examples
        self.separation = separation
        self.noise = noise

    @property
    def class_names(self) -> list[str]:
        """The clusters, by number; nothing for regression."""
        count = {"binary": 2, "regression": 0}.get(self.task, self.classes_or_outputs)
        return [str(i) for i in range(count)]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One vector."""
        return (self.num_features,)

    @property
    def num_outputs(self) -> int:
        """Classes, or numbers to predict; 1 if binary."""
        return self.classes_or_outputs

    def load_splits(self) -> dict[str, Split]:
        """Draw the formula, then the examples."""
        # Not the seed itself: a network's weights are drawn from that one too, and would be
        # correlated with the data (-0.32 for a Linear(100, 10) and the centres of its classes).
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "generated"))
        draw = self._numbers if self.task == "regression" else self._clusters
        formula = self._formula(generator)
        sizes = {"train": self.num_examples, "val": 1000, "test": 1000}
        return {split: draw(size, formula, generator) for split, size in sizes.items()}

    def _formula(self, generator: torch.Generator) -> Tensor:
        if self.task == "regression":
            shape = (2, self.num_features, self.classes_or_outputs)
            return torch.randn(shape, generator=generator) / self.num_features**0.5
        centres = torch.randn(len(self.class_names), self.num_features, generator=generator)
        return self.separation * centres

    def _clusters(self, size: int, centres: Tensor, generator: torch.Generator) -> Split:
        target = torch.randint(len(centres), (size,), generator=generator)
        x = centres[target] + torch.randn(size, self.num_features, generator=generator)
        return x, target.float() if self.task == "binary" else target

    def _numbers(self, size: int, formula: Tensor, generator: torch.Generator) -> Split:
        x = torch.randn(size, self.num_features, generator=generator)
        clean = x @ formula[0] + 0.3 * torch.tanh(2 * x @ formula[1])
        noise = self.noise * torch.randn(clean.shape, generator=generator)
        return x, clean + noise


class InlineData(TensorDataModule):
    """Numbers written out, such as a document's one example; the same for every split.

    Args:
        inputs: Examples, each a list of numbers.
        targets: What to predict of each: a list of numbers.
        batch_size: Examples in a training batch.
        seed: Not used: there is nothing to split.
        shuffle: Draw a new order every epoch.
    """

    task: Task = "regression"
    origin = "exact"

    def __init__(
        self,
        inputs: list[list[float]],
        targets: list[list[float]],
        batch_size: int = 1,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, shuffle=shuffle)
        if len(inputs) != len(targets) or not inputs:
            raise UserError(
                f"--data.inputs and --data.targets need as many examples as each other, and at "
                f"least one; they have {len(inputs)} and {len(targets)}."
            )
        for option, rows in {"inputs": inputs, "targets": targets}.items():
            lengths = {len(row) for row in rows}
            if len(lengths) > 1:
                raise UserError(f"The examples of --data.{option} differ in length.")
            if lengths == {0}:
                raise UserError(f"The examples of --data.{option} have no numbers.")
        self.inputs, self.targets = inputs, targets

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The numbers of one example."""
        return (len(self.inputs[0]),)

    @property
    def num_outputs(self) -> int:
        """The numbers to predict."""
        return len(self.targets[0])

    def load_splits(self) -> dict[str, Any]:
        """Make tensors of the numbers."""
        split = torch.tensor(self.inputs), torch.tensor(self.targets)
        return dict.fromkeys(("train", "val", "test"), split)
