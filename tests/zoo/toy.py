"""A small task of each kind, and a network and a trainer for it."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from datamodules import TensorDataModule
from zoo.architectures import FeedForward
from zoo.learning import Learning

ONE_CYCLE = {"class_path": "zoo.optimization.OneCycle", "init_args": {}}
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}}


class Numbers(TensorDataModule):
    """Rows of five numbers, whose class or value follows from them; 4 batches an epoch."""

    def __init__(self, task: str = "multiclass", repeats: int = 1, **options: Any) -> None:
        super().__init__(**{"batch_size": 16, **options})
        self.task, self.repeats = task, repeats

    @property
    def class_names(self) -> list[str]:
        names = {"multiclass": ["a", "b", "c"], "binary": ["no", "yes"], "regression": []}
        return names[self.task]

    @property
    def preprocessing(self) -> dict[str, Any]:
        # A regression learns in standardised units; see `target` in ZooModule.
        target = {"mean": [3.0, -2.0], "std": [2.0, 5.0]}
        return {"kind": "none"} | ({"target": target} if self.task == "regression" else {})

    def load_splits(self) -> dict[str, tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(64 + 45 + 33, 5, generator=generator)
        target = {
            "multiclass": x[:, :3].argmax(1),
            "binary": (x[:, 0] > 0).float(),
            "regression": x[:, :2] * torch.tensor([2.0, 5.0]) + torch.tensor([3.0, -2.0]),
        }[self.task]
        sizes = [64, 45, 33]
        pairs = zip(x.split(sizes), target.split(sizes), strict=True)
        splits = dict(zip(("train", "val", "test"), pairs, strict=True))
        return splits | {
            "train": tuple(part.repeat_interleave(self.repeats, 0) for part in splits["train"])
        }


def network(data: Numbers, **options: Any) -> FeedForward:
    """Return a network for the data; options are its own or those of its learning."""
    torch.manual_seed(0)
    learning = {k: options.pop(k) for k in Learning.__dataclass_fields__ if k in options}
    model = FeedForward(data.spec, **{"hidden_dim": [8, 8], **options})
    return model.learn({"optimizer": SGD, **learning})


def trainer(folder: Path, epochs: int = 2, **options: Any) -> pl.Trainer:
    settings = {
        "accelerator": "cpu",
        "max_epochs": epochs,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
        "default_root_dir": folder,
    }
    return pl.Trainer(**{**settings, **options})


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])
