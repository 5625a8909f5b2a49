"""A LightningDataModule of the user's own, by its class path: training, going on, measuring."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from datamodules import TensorDataModule
from zoo import UserError

PHOTOS = """
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset


class Photos(LightningDataModule):
    def __init__(self, size: int = 8, count: int = 60):
        super().__init__()
        self.size, self.count = size, count

    def setup(self, stage=None):
        draw = torch.Generator().manual_seed(0)
        y = torch.arange(self.count) % 3
        x = torch.randn(self.count, 1, self.size, self.size, generator=draw)
        self.examples = TensorDataset(x + y[:, None, None, None], y)

    def train_dataloader(self):
        return DataLoader(self.examples, 16, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.examples, 16)

    def test_dataloader(self):
        return DataLoader(self.examples, 16)
"""
OWN = ("--data", "my_photos.Photos")
RUN = "runs/mnist_net/version_0"
TRUST = ("--trust", "my_photos.Photos")


@pytest.fixture
def trained(run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delitem(sys.modules, "my_photos", raising=False)
    Path("my_photos.py").write_text(PHOTOS)
    return run_cli("fit", "--model", "mnist_net", *OWN, "--trainer.max_epochs", 1)


def test_a_network_learns_from_it(trained: Any) -> None:
    assert trained.status == 0, trained.err
    assert "mnist_net on Photos" in trained.out
    assert not trained.err  # that the training examples are shuffled is nothing to warn of


def test_who_names_the_data_allows_their_class_to_the_weights_that_it_starts_from(
    trained: Any, run_cli: Callable[..., Any]
) -> None:
    again = run_cli("fit", "--weights", RUN, *OWN, "--trainer.max_epochs", 1)
    assert again.status == 0, again.err
    assert "backbone and head" in again.out
    others = run_cli("fit", "--weights", RUN, "--data", "xor", "--trainer.max_epochs", 1)
    assert "my_photos" not in others.err


def test_the_class_of_a_card_alone_is_not_imported(
    trained: Any, run_cli: Callable[..., Any]
) -> None:
    for command in (("fit", "--weights", RUN), ("evaluate", RUN)):
        result = run_cli(*command)
        assert result.status == 2
        assert f"names 'my_photos.Photos'{'' if command[0] == 'fit' else ','}" in result.err
        assert "--trust my_photos.Photos" in result.err


def test_a_run_on_it_is_measured_again(trained: Any, run_cli: Callable[..., Any]) -> None:
    result = run_cli("evaluate", RUN, *TRUST)
    assert result.status == 0, result.err
    assert "mnist_net on Photos (real), test split" in result.out
    rows = dict(line.split(maxsplit=1) for line in result.out.splitlines() if line)
    assert rows["measured"].split() == rows["card"].split()
    assert "Other figures" not in result.out


def test_weights_are_measured_on_it(trained: Any, run_cli: Callable[..., Any]) -> None:
    result = run_cli("evaluate", RUN, *OWN, "--data.count", 30, "--inspect", "none")
    assert result.status == 0, result.err
    assert "on Photos, test split, 30 examples" in result.out
    assert "rows: the class; columns: the prediction" in result.out
    other = run_cli("evaluate", RUN, *OWN, "--data.size", 5)
    assert other.status == 2
    assert "reads examples of the shape (1, 8, 8); these data have (1, 5, 5)" in other.err


def test_data_without_names_take_those_of_the_network(
    trained: Any, run_cli: Callable[..., Any]
) -> None:
    result = run_cli(
        *("evaluate", "fashion_ffnn.tuned", *OWN, "--data.size", 28, "--inspect", "none")
    )
    assert result.status == 0, result.err
    assert "Ankle boot" in result.out


def test_batches_that_are_no_pairs_get_a_sentence(run_cli: Callable[..., Any]) -> None:
    text = PHOTOS.replace("TensorDataset(x + y[:, None, None, None], y)", "TensorDataset(x)")
    Path("my_singles.py").write_text(text)
    data = ("--data", "my_singles.Photos")
    result = run_cli("evaluate", "mnist_net", *data, "--data.size", 28)
    assert result.status == 2
    assert "Photos hands out no batches (inputs, targets) of tensors" in result.err
    with pytest.raises(UserError, match="hands out no batches"):
        zoo.fit("mnist_net", "my_singles.Photos", max_epochs=1)


def test_one_without_its_one_method_is_told_which_it_is() -> None:
    """It was `The network or its data cannot be made: .`"""

    class Photos(TensorDataModule):
        pass

    with pytest.raises(UserError, match=r"Photos has no load_splits.*train, val and test"):
        Photos().setup()
