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


def fit(folder: Path, data: Numbers, epochs: int, go_on_from: Path | None = None) -> KeepBest:
    keep_best = KeepBest(
        folder, filename="best", monitor="accuracy/val", mode="max", save_last=True
    )
    trainer(folder, epochs, callbacks=[keep_best], enable_checkpointing=True).fit(
        network(data), datamodule=data, ckpt_path=go_on_from, weights_only=True
    )
    return keep_best


def epoch_of(checkpoint: Path | str) -> int:
    return torch.load(checkpoint, weights_only=True)["epoch"]


def test_the_best_of_the_first_part_stays_the_best(tmp_path: Path) -> None:
    first = fit(tmp_path / "first", Numbers(), epochs=20)
    then = fit(tmp_path / "then", Mislabelled(), 22, go_on_from=tmp_path / "first" / "last.ckpt")
    assert then.best_model_score == first.best_model_score
    assert Path(then.best_model_path) == tmp_path / "then" / "best.ckpt"
    assert epoch_of(then.best_model_path) == epoch_of(first.best_model_path)


def test_without_the_first_folder_the_second_part_has_its_own_best(tmp_path: Path) -> None:
    first = fit(tmp_path / "first", Numbers(), epochs=20)
    last = epoch_of(tmp_path / "first" / "last.ckpt")
    Path(first.best_model_path).unlink()
    then = fit(tmp_path / "then", Mislabelled(), 22, go_on_from=tmp_path / "first" / "last.ckpt")
    assert then.best_model_score < first.best_model_score
    assert epoch_of(tmp_path / "then" / "best.ckpt") > last
