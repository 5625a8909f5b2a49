"""FizzBuzz: bits in, number, fizz, buzz or fizzbuzz out."""

import pytest
import torch

from datamodules import FizzBuzz, UserError
from datamodules.fizzbuzz import decode, encode, label, say


def test_digits_and_labels() -> None:
    numbers = torch.tensor([1, 3, 5, 15, 1023])
    assert encode(numbers)[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert encode(numbers)[2].tolist() == [1, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert encode(numbers)[4].tolist() == [1] * 10
    assert torch.equal(decode(encode(torch.arange(1024))), torch.arange(1024))
    assert label(numbers).tolist() == [0, 1, 2, 3, 1]
    assert say(numbers, ["number", "fizz", "buzz", "fizzbuzz", "fizz"]) == [
        "1",
        "fizz",
        "buzz",
        "fizzbuzz",
        "fizz",
    ]


def test_trains_on_101_to_1023_and_tests_on_1_to_100() -> None:
    data = FizzBuzz(val_size=100)
    numbers = {split: decode(x) for split, (x, _) in data.splits.items()}
    assert numbers["test"].tolist() == list(range(1, 101))
    seen = torch.cat([numbers["train"], numbers["val"]]).sort().values
    assert seen.tolist() == list(range(101, 1024))
    assert len(numbers["val"]) == 100
    assert torch.equal(FizzBuzz(val_size=100).splits["val"][0], data.splits["val"][0])
    assert (data.input_shape, data.task, data.num_outputs) == ((10,), "multiclass", 4)
    # 53.3 % of all numbers are neither
    share = (data.splits["train"][1] == 0).float().mean().item()
    assert share == pytest.approx(8 / 15, abs=0.02)


@pytest.mark.parametrize("val_size", [923, 2000, -1])
def test_an_impossible_validation_split_is_refused(val_size: int) -> None:
    with pytest.raises(UserError, match=r"--data\.val_size"):
        FizzBuzz(val_size=val_size).setup()
