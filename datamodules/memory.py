"""Data that are in memory already, and datamodules that are none of ours."""

import json
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from datamodules.arrays import (
    as_inputs,
    as_tensor,
    has_gaps,
    numbered,
    plain_array,
    refuse_not_finite,
)
from datamodules.base import Split, Task, TensorDataModule, hold_out
from datamodules.errors import UserError
from datamodules.folds import check_folds, hold_out_fold
from datamodules.spec import DataSpec


class InMemory(TensorDataModule):
    """Arrays, tensors or a Dataset as a datamodule: split at random, handed out in whole batches.

    Args:
        x: Inputs (N, ...): images (N, C, H, W) of bytes or floats from 0 to 1, or numbers.
        y: Targets (N,) or (N, outputs): class indices, class names, booleans, or numbers.
        task: What they are; whole numbers, names and booleans are classes if not given.
        class_names: Names of the classes, in the order of the indices.
        val_size: Examples held out for validation, as a number or a fraction.
        test_size: Examples held out for the test, likewise.
        folds: Hold out one of so many folds as the test split, for cross-validation: every example
            is held out by one of them, each class in proportion.
        fold: Which fold, from 0.
        batch_size: Examples in a training batch.
        seed: Seed of the splits.
        shuffle: Draw a new order of the training examples every epoch.

    Attributes:
        in_memory: The arguments that `as_datamodule` made it with: a run that goes on, whose data
            are brought again, takes them up.

    Raises:
        UserError: If inputs and targets are not as many, or hold something else than numbers.
    """

    origin = "real"
    in_memory: dict[str, Any] = {}  # noqa: RUF012 - replaced as a whole

    def __init__(
        self,
        x: Any,
        y: Any,
        task: Task | None = None,
        class_names: Sequence[str] | None = None,
        val_size: int | float = 0.15,
        test_size: int | float = 0.15,
        folds: int | None = None,
        fold: int = 0,
        batch_size: int = 64,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, shuffle=shuffle)
        check_folds(folds, fold)
        self.folds, self.fold = folds, fold
        self.val_size, self.test_size = val_size, test_size
        self.x = as_inputs(x)
        y = plain_array(y)
        # A name stands for its class; numbers from 0 on are indices, as class_names are meant.
        named = not isinstance(y, Tensor) and len(y) > 0 and isinstance(y[0], str)
        names, target = numbered(y) if named else (None, as_tensor(y, "targets"))
        if len(self.x) != len(target):
            raise UserError(f"There are {len(self.x)} inputs, but {len(target)} targets.")
        if task is None and (target.is_floating_point() or target.squeeze(-1).ndim > 1):
            task = "regression"
        if task == "regression":
            self.task, self._names = task, list[str]()
            self.y = target.float().reshape(len(target), -1)
            refuse_not_finite(self.y, "targets")
            return
        if names is None and class_names is None and has_gaps(target):
            names, target = numbered(target.reshape(-1).tolist())
        target = target.reshape(-1).long()
        if target.min() < 0:
            raise UserError(f"Class {int(target.min())} is no index of a class, from 0 on.")
        if target.min() == target.max():
            shown = names[0] if names else int(target[0])
            raise UserError(f"All targets are {shown}: there is nothing to tell apart.")
        if task is None:
            two = target.max() == 1 and len(class_names or ()) < 3
            task = "binary" if two else "multiclass"
        self.task = task
        self.y = target.float() if task == "binary" else target
        count = 2 if task == "binary" else int(target.max()) + 1
        self._names = list(class_names or names or map(str, range(count)))

    @classmethod
    def of(cls, dataset: Dataset[Any], **options: Any) -> "InMemory":
        """Read a Dataset of (x, y) once, example by example."""
        pairs = [dataset[i] for i in range(len(dataset))]  # type: ignore[arg-type]
        x = torch.stack([torch.as_tensor(x) for x, _ in pairs])
        names = getattr(dataset, "classes", None)
        return cls(x, [y for _, y in pairs], **{"class_names": names, **options})

    @property
    def class_names(self) -> list[str]:
        """The names of the classes; empty for regression."""
        return self._names

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Pixels for bytes and images, else numbers as they are; a regression's scale."""
        if self.x.dtype == torch.uint8 or self.x.ndim == 4:
            return {"kind": "pixels", "mean": 0.0, "std": 1.0}
        described: dict[str, Any] = {"kind": "none"}
        if self.task == "regression":
            target = self.splits["train"][1].double()
            std = target.std(0).nan_to_num(1.0)
            std = torch.where(std > 0, std, 1.0)
            described["target"] = {"mean": target.mean(0).tolist(), "std": std.tolist()}
        return described

    def load_splits(self) -> dict[str, Split]:
        """Split at random."""
        if self.folds:
            classes = None if self.task == "regression" else self.y
            held = hold_out_fold(len(self.x), self.folds, self.fold, classes, self.seed)
            rest, test = map(torch.from_numpy, held)
        else:
            rest, test = hold_out(len(self.x), self.test_size, self.seed, "test_size")
        kept, val = hold_out(len(rest), self.val_size, self.seed + 1)
        self.rows = {"train": rest[kept], "val": rest[val], "test": test}
        return {split: (self.x[index], self.y[index]) for split, index in self.rows.items()}


def as_datamodule(data: Any, target: Any = None, **options: Any) -> LightningDataModule:
    """Return data in memory as a datamodule.

    Args:
        data: A LightningDataModule, a DataFrame (with `target`), a pair (x, y) of arrays, tensors
            or lists, or a Dataset of such pairs.
        target: The column of a DataFrame to predict, or several.
        options: Arguments of the datamodule that is made.

    Raises:
        UserError: If it is none of these.
    """
    if isinstance(data, LightningDataModule):
        return data
    if hasattr(data, "columns") and hasattr(data, "to_csv"):
        if target is None:
            raise UserError("A DataFrame needs target=COLUMN: what is to be predicted?")
        return _of_frame(data, target, **options)
    if isinstance(data, (tuple, list)) and len(data) == 2:
        made = InMemory(*data, **options)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        made = InMemory.of(data, **options)
    else:
        raise UserError(
            f"data= takes a name, a file, a DataFrame, a pair (x, y), a Dataset or a "
            f"LightningDataModule, not a {type(data).__name__}."
        )
    made.in_memory = _plain(options)
    return made


def _of_frame(frame: Any, target: Any, **options: Any) -> LightningDataModule:
    """Write a DataFrame down and read it as any table: one way of guessing kinds and splits."""
    from datamodules.tabular.datamodule import Tabular

    folder = Path(tempfile.mkdtemp(prefix="zoo-frame-"))
    try:
        frame.to_csv(folder / "frame.csv", index=False)
        path = str(folder / "frame.csv")
        data = Tabular(path=path, target=target, header="first", separator=",", **options)
    except BaseException:
        shutil.rmtree(folder)
        raise
    weakref.finalize(data, shutil.rmtree, folder, ignore_errors=True)
    data.in_memory = _plain({"target": target, **options})  # type: ignore[attr-defined]
    return data


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(options, default=str))


def spec_of(data: LightningDataModule) -> DataSpec:
    """Return what a network must know of a datamodule: what it says itself, else found out.

    A datamodule of another package says it by an attribute `spec`, or by some of `task`,
    `class_names` or `num_classes`, and `preprocessing`; the rest is read off its training batches.

    Raises:
        UserError: If its batches are not pairs of tensors.
    """
    spec = getattr(data, "spec", None)
    if isinstance(spec, DataSpec):
        return spec
    data.prepare_data()
    data.setup("fit")
    loader: DataLoader[Any] = data.train_dataloader()
    x, y = _first_batch(loader, data)
    _refuse_several(data)
    names = getattr(data, "class_names", None) or getattr(
        getattr(loader, "dataset", None), "classes", None
    )
    task: Task | None = getattr(data, "task", None)
    count = getattr(data, "num_classes", None) or (len(names) if names else None)
    if task is None:
        task = _task_of(y, data)
    if task == "multiclass" and count is None:
        count = 1 + max(int(target.max()) for _, target in loader)
    outputs: dict[Task, Any] = {"binary": 1, "multiclass": count, "regression": y[0].numel()}
    pixels = x.dtype == torch.uint8 or x.ndim == 4
    kind = {"kind": "pixels" if pixels else "none"}
    preprocessing = getattr(data, "preprocessing", None) or kind
    return DataSpec(x.shape[1:], task, outputs[task], names, preprocessing)


def _refuse_several(data: LightningDataModule) -> None:
    """Refuse several validation loaders before a training, which would end at the first one."""
    if type(data).val_dataloader is LightningDataModule.val_dataloader:
        return
    loaders = data.val_dataloader()
    if isinstance(loaders, (list, tuple)) and len(loaders) > 1:
        raise UserError(
            f"{type(data).__name__} has {len(loaders)} loaders for validation; figures are of one: "
            "join their datasets, or return the one to select by."
        )


def _task_of(y: Tensor, data: LightningDataModule) -> Task:
    single = y.numel() == len(y)
    if y.dtype == torch.bool and single:
        return "binary"
    if y.is_floating_point():
        return "binary" if single and set(y.unique().tolist()) <= {0.0, 1.0} else "regression"
    if y.ndim > 1:
        raise UserError(
            f"{type(data).__name__} hands out targets of whole numbers in the shape "
            f"{tuple(y.shape)}: indices of classes have the shape (N,), and what is to be "
            "predicted as numbers is of floats."
        )
    return "multiclass"


def _first_batch(loader: Any, data: LightningDataModule) -> tuple[Tensor, Tensor]:
    batch = next(iter(loader), None)
    if not (
        isinstance(batch, (tuple, list))
        and len(batch) == 2
        and all(isinstance(part, Tensor) for part in batch)
    ):
        raise UserError(
            f"{type(data).__name__} hands out no batches (inputs, targets) of tensors; say what "
            "they are with an attribute `spec` (zoo.DataSpec)."
        )
    return batch[0], batch[1]
