"""A datamodule that is none of ours, its batches put together, so that it can be measured."""

from dataclasses import replace
from typing import Any, Self

import torch
from lightning.pytorch import LightningDataModule

from datamodules.base import Split, TensorDataModule
from datamodules.memory import spec_of
from datamodules.spec import DataSpec


class Gathered(TensorDataModule):
    """The whole splits of any LightningDataModule whose batches are pairs of tensors.

    Args:
        data: The datamodule. A split whose loader it lacks is empty.

    Raises:
        UserError: If its batches are something else.
    """

    def __init__(self, data: LightningDataModule) -> None:
        super().__init__()
        self.data, self._found = data, spec_of(data)
        self.task = self._found.task

    @property
    def class_names(self) -> list[str]:
        """Those of the datamodule; where it names none, those of the network that is followed."""
        return self._found.names

    @property
    def title(self) -> str:
        """The datamodule's own class."""
        return type(self.data).__name__

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What the datamodule says, or what its batches look like."""
        return self._found.preprocessing

    def follow(self, network: Any) -> Self:
        """Take the network's classes, which may be more than those of a few examples."""
        expected = getattr(network, "spec", None)
        unnamed = self._found.class_names is None and self.task == "multiclass"
        if unnamed and isinstance(expected, DataSpec) and expected.task == self.task:
            self._found = replace(
                self._found, num_outputs=expected.num_outputs, class_names=expected.class_names
            )
        return super().follow(network)

    def load_splits(self) -> dict[str, Split]:
        """Read every loader once."""
        for stage in ("validate", "test"):  # `spec_of` has done so to fit
            self.data.setup(stage)
        found = {split: self._gather(split) for split in ("train", "val", "test")}
        x, y = found["train"] or (torch.empty(0), torch.empty(0))
        return {split: examples or (x[:0], y[:0]) for split, examples in found.items()}

    def _gather(self, split: str) -> Split | None:
        loader = f"{split}_dataloader"
        if getattr(type(self.data), loader) is getattr(LightningDataModule, loader):
            return None
        inputs, targets = zip(*getattr(self.data, loader)(), strict=True)
        return torch.cat(inputs), torch.cat(targets)


def measurable(data: LightningDataModule) -> TensorDataModule:
    """Return a datamodule of ours as it is, and any other with its splits gathered."""
    return data if isinstance(data, TensorDataModule) else Gathered(data)
