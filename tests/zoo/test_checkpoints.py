"""The best epoch counts over a whole training, also if it goes on in another folder."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy import Numbers, network, trainer

from zoo.callbacks.checkpoints import KeepBest

pytestmark = pytest.mark.filterwarnings("ignore")


class Mislabelled(Numbers):
    """The same rows with the wrong classes: whatever has learnt gets worse here."""

    def load_splits(self) -> dict[str, tuple[Tensor, Tensor]]:
        return {split: (x, (y + 1) % 3) for split, (x, y) in super().load_splits().items()}


def keep_best(folder: Path) -> KeepBest:
    return KeepBest(folder, filename="best", monitor="accuracy/val", mode="max", save_last=True)


def test_the_best_of_the_first_part_stays_the_best(tmp_path: Path) -> None:
    first, then = keep_best(tmp_path / "first"), keep_best(tmp_path / "then")
    options = {"callbacks": [first], "enable_checkpointing": True}
    trainer(tmp_path, epochs=20, **options).fit(network(Numbers()), datamodule=Numbers())
    best = torch.load(first.best_model_path, weights_only=True)

    options = {"callbacks": [then], "enable_checkpointing": True}
    trainer(tmp_path, epochs=22, **options).fit(
        network(Numbers()),
        datamodule=Mislabelled(),
        ckpt_path=tmp_path / "first" / "last.ckpt",
        weights_only=True,
    )
    assert then.best_model_score == first.best_model_score
    assert Path(then.best_model_path) == tmp_path / "then" / "best.ckpt"
    kept = torch.load(then.best_model_path, weights_only=True)
    assert kept["epoch"] == best["epoch"]
    assert (tmp_path / "first" / "best.ckpt").exists()


def test_without_the_first_folder_the_second_part_has_its_own_best(tmp_path: Path) -> None:
    first, then = keep_best(tmp_path / "first"), keep_best(tmp_path / "then")
    options = {"callbacks": [first], "enable_checkpointing": True}
    trainer(tmp_path, epochs=20, **options).fit(network(Numbers()), datamodule=Numbers())
    Path(first.best_model_path).unlink()

    options = {"callbacks": [then], "enable_checkpointing": True}
    trainer(tmp_path, epochs=22, **options).fit(
        network(Numbers()),
        datamodule=Mislabelled(),
        ckpt_path=tmp_path / "first" / "last.ckpt",
        weights_only=True,
    )
    assert then.best_model_score < first.best_model_score
    assert Path(then.best_model_path) == tmp_path / "then" / "best.ckpt"
