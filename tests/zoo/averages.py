"""What the tests of averaged weights share."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from toy import ONE_CYCLE, Numbers, network

from zoo.architectures import FeedForward


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def with_batch_norm(data: Numbers, **options: Any) -> FeedForward:
    """A network with the things that an average must get right: buffers, dropout, a schedule."""
    return network(data, norm="batch", dropout=0.2, lr_scheduler=ONE_CYCLE, **options)


def checkpoint(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


class Recorder(Callback):
    """Keeps the weights after every update, and those that are validated."""

    def __init__(self) -> None:
        self.learning: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []
        self.step = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step > self.step:
            self.step = trainer.global_step
            self.learning.append(state(pl_module))

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any
    ) -> None:
        self.validated.append(state(pl_module))
