"""FizzBuzz: from a number's ten binary digits to number, fizz, buzz or fizzbuzz."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from datamodules.base import Split, TensorDataModule, hold_out

NUM_BITS = 10
TEST_NUMBERS = range(1, 101)
TRAIN_NUMBERS = range(101, 2**NUM_BITS)


class FizzBuzz(TensorDataModule):
    """Numbers 101 to 1023 to train on, 1 to 100 to test; document 004.

    Args:
        val_size: Training numbers held out for validation, as a number or a fraction.
        batch_size: Numbers in a training batch.
        seed: Seed of the validation split.
        shuffle: Draw a new order every epoch.
    """

    origin = "exact"

    def __init__(
        self,
        val_size: int | float = 100,
        batch_size: int = 64,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, shuffle=shuffle)
        self.val_size = val_size

    @property
    def class_names(self) -> list[str]:
        """What to say; `number` stands for the number itself."""
        return ["number", "fizz", "buzz", "fizzbuzz"]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The digits of one number."""
        return (NUM_BITS,)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Numbers are read as so many binary digits, lowest first."""
        return {"kind": "none", "binary_digits": NUM_BITS}

    def load_splits(self) -> dict[str, Split]:
        """Encode the numbers and split validation out of train."""
        train, test = torch.tensor(TRAIN_NUMBERS), torch.tensor(TEST_NUMBERS)
        kept, held_out = hold_out(len(train), self.val_size, self.seed)
        numbers = {"train": train[kept], "val": train[held_out], "test": test}
        return {split: (encode(n), label(n)) for split, n in numbers.items()}


def encode(numbers: Tensor) -> Tensor:
    """Return the binary digits (N, 10) of int64 numbers (N,), lowest first, as floats."""
    return (numbers.unsqueeze(-1) >> torch.arange(NUM_BITS) & 1).float()


def decode(digits: Tensor) -> Tensor:
    """Return the int64 numbers (N,) of binary digits (N, 10)."""
    return (digits.long() << torch.arange(NUM_BITS)).sum(dim=-1)


def label(numbers: Tensor) -> Tensor:
    """Return the class of each number: 1 if 3 divides it, plus 2 if 5 does."""
    return (numbers % 3 == 0).long() + 2 * (numbers % 5 == 0).long()


def say(numbers: Tensor, predictions: Sequence[str]) -> list[str]:
    """Return what a player would say: `1`, `2`, `fizz`, `4`, `buzz`, ..."""
    return [
        str(number) if prediction == "number" else prediction
        for number, prediction in zip(numbers.tolist(), predictions, strict=True)
    ]
