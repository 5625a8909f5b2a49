"""The datamodule that every other one extends: in-memory tensors in, batches out."""

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from datamodules.batches import TensorBatches
from datamodules.errors import UserError
from datamodules.following import check, disagreement
from datamodules.spec import DataSpec, Task

# Inputs and targets; the inputs may be several tensors in a tuple, list or dictionary.
Split = tuple[Any, Tensor]

# Evaluation needs no small batches: 8,192 examples take 90 ms at batch 64 and 15 ms at 1,024.
EVALUATION_BATCH_SIZE = 1024


class TensorDataModule(LightningDataModule):
    """Holds train, val and test as tensors and hands them out in whole batches.

    A concrete datamodule implements `load_splits`. What a model must know about the data is its
    `spec`, there as soon as it is asked for. Used with a network that was made with other data it
    reads its own as that network does (see `follow`).

    Args:
        batch_size: Examples in a training batch.
        seed: Seed of the validation split. The order of the training examples follows the seed of
            `seed_everything`, so that other seeds see the same split.
        shuffle: Draw a new order of the training examples every epoch.
        augment: Modules that change a training batch of inputs, applied in order to whole batches
            on the model's device: ours in `datamodules.augment` draw anew for every example,
            torchvision's v2 transforms once for the whole batch.
    """

    task: Task = "multiclass"
    #: Where the examples come from: `real`; `exact` if they are by definition what their name says,
    #: as a truth table is; `synthetic` if they stand in for real ones that are not there, which is
    #: written on everything a run leaves behind.
    origin: str = "real"
    #: Files that are not the published ones of their name, so that figures cannot be compared.
    unpublished_files: Sequence[str] = ()
    #: MD5 of what is in each file that was read, unpacked, by the file's name.
    checksums: Mapping[str, str] = MappingProxyType({})
    #: Which examples of the source each split holds, where that is known.
    rows: Mapping[str, Any] = MappingProxyType({})
    #: One weight per class for the loss, or None.
    class_weights: list[float] | None = None

    def __init__(
        self,
        batch_size: int = 64,
        seed: int = 0,
        shuffle: bool = True,
        augment: list[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"--data.batch_size must be at least 1, not {batch_size}.")
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.augment = nn.Sequential(*augment) if augment else None
        self._splits: dict[str, Split] | None = None
        self._expected: DataSpec | None = None
        self._train_batches: TensorBatches | None = None
        self._resume_at: dict[str, Any] | None = None

    # What a concrete datamodule provides

    def load_splits(self) -> dict[str, Split]:
        """Read or make the data.

        Returns:
            `train`, `val` and `test`, each as inputs and targets of equal length. Targets are int64
            class indices for `multiclass`, float32 0 or 1 of shape (N,) for `binary`, and float32
            of shape (N, outputs) for `regression`.

        Raises:
            UserError: If a class brings none: it is the one method that each must.
        """
        raise UserError(
            f"{type(self).__name__} has no load_splits, which returns train, val and test, each as "
            "a pair of inputs and targets."
        )

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, in the order of the targets; empty for regression."""
        return []

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How a model reads a raw batch, as plain JSON; it travels with the weights."""
        return {"kind": "none"}

    @property
    def title(self) -> str:
        """What a terminal calls the data."""
        return type(self).__name__

    @property
    def profile(self) -> str:
        """What was read, for a terminal; nothing where the name of the data says it all."""
        return ""

    @property
    def profile_markdown(self) -> str:
        """The profile for TensorBoard."""
        return self.profile.replace("\n", "  \n")

    # What follows from it

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits, loaded when first asked for."""
        if self._splits is None:
            self._splits = self.load_splits()
            if self._expected is not None:
                try:
                    check(self._expected, self)
                except UserError:
                    self._splits = None
                    raise
        return self._splits

    @property
    def input_shape(self) -> Any:
        """The shape of one raw example, without the batch dimension; of several inputs, each's."""
        return _shape_of_one(self.splits["train"][0])

    @property
    def num_classes(self) -> int:
        """How many classes there are; 0 for regression."""
        return len(self.class_names)

    @property
    def num_outputs(self) -> int:
        """How many values a model's head gives: 1 if binary, else one per class or target."""
        if self.task != "regression":
            return self.num_classes if self.task == "multiclass" else 1
        target = self.splits["train"][1]
        return target.shape[1] if target.ndim > 1 else 1

    @property
    def spec(self) -> DataSpec:
        """What a network must know of these data."""
        names = self.class_names or None
        return DataSpec(self.input_shape, self.task, self.num_outputs, names, self.preprocessing)

    def follow(self, network: Any) -> Self:
        """Read the data as a network does that was made with other data.

        A Trainer does so by itself with the network that it is given. A table's rows are then
        encoded by the network's columns, scales and vocabularies, sentences by its words, and
        classes are numbered in its order. Splits that were read in another way are read again.

        Args:
            network: A network of the zoo; any other is left to itself.

        Returns:
            This datamodule.

        Raises:
            UserError: If the data lack what the network reads, or have a class that it does not
                know. What the files alone show is found when the splits are read.
        """
        expected = getattr(network, "spec", None)
        if not isinstance(expected, DataSpec):
            return self
        if self._splits is None or disagreement(expected, self):
            self._expected, self._splits = expected, None
        return self

    def setup(self, stage: str | None = None) -> None:
        """Load the splits, once for the network that a Trainer (which says a stage) has.

        Before a training that is logged, print and log the profile of the data, if they have one.
        """
        if stage is not None and self.trainer is not None:
            self.follow(self.trainer.lightning_module)
        _ = self.splits
        if stage != "fit" or not self.profile or not self.trainer or not self.trainer.loggers:
            return
        if self.trainer.is_global_zero:
            print(self.profile, flush=True)
            for logger in self.trainer.loggers:
                writer: Any = getattr(logger, "experiment", None)
                if hasattr(writer, "add_text"):
                    writer.add_text("data/profile", self.profile_markdown)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint says about the data, and how far the training had read them.

        Lightning keeps the position too, but forgets to restore it where a schedule spans the
        whole training: `estimated_stepping_batches` makes the loader before there is a state.
        """
        position = self._train_batches.state_dict() if self._train_batches else None
        return {"origin": self.origin, "train": position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let a training that goes on begin where its checkpoint was written."""
        if self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self._resume_at = state_dict.get("train")

    def train_dataloader(self) -> TensorBatches:
        """Return the training batches of this rank, in a new order every epoch."""
        return self._batches("train", self.batch_size, shuffle=self.shuffle, join_single=True)

    def val_dataloader(self) -> TensorBatches:
        """Return the validation batches of this rank."""
        return self._batches("val", max(self.batch_size, EVALUATION_BATCH_SIZE))

    def test_dataloader(self) -> TensorBatches:
        """Return the test batches of this rank: every test example once."""
        return self._batches("test", max(self.batch_size, EVALUATION_BATCH_SIZE))

    def predict_dataloader(self) -> TensorBatches:
        """Return the test batches, for `Trainer.predict`."""
        return self.test_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment a training batch on the model's device."""
        if self.augment is None or self.trainer is None or not self.trainer.training:
            return batch
        x, y = batch
        return self.augment(x), y

    def _batches(self, split: str, batch_size: int, **options: Any) -> TensorBatches:
        x, y = self.splits[split]
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
            overfit = self.trainer.overfit_batches  # type: ignore[attr-defined]
            if overfit:  # the same batches every epoch, as of a DataLoader
                options |= {"shuffle": False, "replacement": False}
            if split == "val" and isinstance(overfit, float) and overfit:
                # Lightning takes that share of the validation batches, and refuses less than one.
                batch_size = min(batch_size, max(1, int(overfit * (len(y) // world_size))))
        # seed_everything leaves its seed here, the same on every rank.
        order_seed = int(os.environ.get("PL_GLOBAL_SEED", self.seed))
        batches = TensorBatches(
            x, y, batch_size, seed=order_seed, rank=rank, world_size=world_size, **options
        )
        batches.spec = self.spec
        if split == "train":
            self._train_batches = batches
            if self._resume_at:
                batches.load_state_dict(self._resume_at)
                self._resume_at = None
        return batches


def _shape_of_one(examples: Any) -> Any:
    if isinstance(examples, dict):
        return {name: _shape_of_one(part) for name, part in examples.items()}
    if isinstance(examples, (tuple, list)):
        return [_shape_of_one(part) for part in examples]
    return tuple(examples.shape[1:])


def hold_out(
    count: int, holdout: int | float, seed: int, option: str = "val_size"
) -> tuple[Tensor, Tensor]:
    """Split `range(count)` at random into what is kept and what is held out for validation.

    Args:
        count: How many examples there are.
        holdout: How many to hold out, as a number or as a fraction below 1; 0 for none.
        seed: Seed of the split, independent of every other random number.
        option: The datamodule's argument that says how many, for the error.

    Returns:
        The kept and the held-out indices, each sorted, so that neighbours stay near in memory.

    Raises:
        UserError: If nothing would be left to train on.
    """
    # By its value, not its type: a configuration file may well say 5000.0.
    size = round(count * holdout) if 0 < holdout < 1 else int(holdout)
    if not (0 < size < count or holdout == 0):
        raise UserError(
            f"{holdout:g} of {count} examples cannot be held out; give --data.{option} a number "
            f"between 1 and {count - 1}, or a fraction."
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[size:].sort().values, order[:size].sort().values
