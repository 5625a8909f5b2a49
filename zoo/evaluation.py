"""Measure saved weights again, on the data that their card names."""

import inspect
import math
import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from datamodules import TensorDataModule
from datamodules.base import EVALUATION_BATCH_SIZE
from datamodules.batches import TensorBatches, take
from datamodules.gathered import measurable
from datamodules.memory import InMemory
from zoo.callbacks.tensorboard import tensorboard_panels
from zoo.cards import Card, card_path, read_card
from zoo.errors import UserError
from zoo.learning import Learning
from zoo.loading.classes import class_in_data, instantiate
from zoo.module import ZooModule

# Training examples that a finished run is measured on: all of MNIST's, about as many as a test
# split ever has. A table of millions would take as long again as an epoch of its training.
MOST_TRAIN_EXAMPLES = 60_000

# Two figures are the same if they differ by less than this, for figures above 1 by this share of
# them: sums in another order differ by 1e-6, one example of 10,000 by 1e-4.
TOLERANCE = 5e-5


def data_of(card: Card, data_dir: str | None = None) -> TensorDataModule:
    """Make the datamodule whose splits a card's metrics are of.

    Args:
        card: The card.
        data_dir: Folder with the data; that of the card's recipe if None. Its files are read also
            if the card's data were drawn.

    Raises:
        UserError: If the card names no data, or they are not in that folder.
    """
    place = f"The card of '{card.name}'"
    spec = card.recipe.get("data") if isinstance(card.recipe, dict) else None
    spec = spec if isinstance(spec, dict) else {}
    arguments = spec.get("init_args") or {}
    if not isinstance(arguments, dict) or "class_path" not in spec:
        raise UserError(f"{place} does not say which data its metrics are of.")
    # A card may come from anywhere: it can name data, not any class whatever.
    find = partial(class_in_data, place=place)
    data_class = find(spec["class_path"], pl.LightningDataModule)
    # Nothing is augmented in an evaluation, so nothing else need be made; and where to keep a copy
    # of a table on disk is not a card's to say.
    options = {k: v for k, v in arguments.items() if k not in ("augment", "cache_dir")}
    if data_dir is not None:
        if "data_dir" not in inspect.signature(data_class).parameters:
            raise UserError(f"The data of '{card.name}' come from no folder: leave --data_dir out.")
        options |= {"data_dir": data_dir, "source": "real"}
    if data_class is InMemory:
        raise UserError(f"{place} is of data that were given in memory: they are in no file.")
    return measurable(instantiate({**spec, "init_args": options}, pl.LightningDataModule, find))


def measure(
    weights: Path,
    splits: Iterable[str] = ("test",),
    *,
    data: TensorDataModule | None = None,
    precision: str | None = None,
) -> dict[str, float]:
    """Return the metrics of weights, by `metric/split`.

    Args:
        weights: A .safetensors file with its card beside it.
        splits: `val` and `test`.
        data: Where the splits are; the card's own data if None.
        precision: Lightning's name of a precision; the one of the card's metrics if None.

    Raises:
        UserError: If there is no card, or it names no data.
    """
    card = read_card(card_path(weights))
    # Not by way of a run: nothing is trained and nothing written.
    trainer = pl.Trainer(
        accelerator="cpu" if card.device.startswith("cpu") else "auto",
        precision=precision or card.precision,  # type: ignore[arg-type]  # a name of Lightning's
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    model, data = ZooModule.from_pretrained(weights), data or data_of(card)
    trained = Learning.of(card.recipe.get("learning"))
    model.learn(
        Learning(
            loss=trained.loss,
            output_activation=trained.output_activation,
            class_weights=trained.class_weights or getattr(data, "class_weights", None),
        )
    )
    metrics: dict[str, float] = {}
    for split in splits:
        evaluate = trainer.test if split == "test" else trainer.validate
        metrics |= evaluate(model, datamodule=data, verbose=False)[0]
    return metrics


def measure_run(
    trainer: pl.Trainer, model: ZooModule, data: pl.LightningDataModule
) -> tuple[dict[str, float], int]:
    """Measure a network on all three splits with the trainer that has trained it.

    The training examples are measured as the others are: in evaluation mode, not augmented, in
    large batches; at most 60,000 of them, evenly spread.

    Returns:
        The metrics, by `metric/split`, and how many training examples were measured.
    """
    batches = _train_batches(trainer, data)
    measured: dict[str, float] = {}
    # They are no validation: neither a logger nor a limit of the validation concerns them.
    loggers, limit = trainer.loggers, trainer.limit_val_batches
    trainer.loggers, trainer.limit_val_batches = [], 1.0
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*sampler has shuffling enabled.*")  # to train
            for values in trainer.validate(model, dataloaders=batches, verbose=False):
                measured = {f"{k.removesuffix('/val')}/train": v for k, v in values.items()}
    finally:
        trainer.loggers, trainer.limit_val_batches = loggers, limit
    wanted = {"val": (trainer.validate, limit), "test": (trainer.test, trainer.limit_test_batches)}
    for split, (evaluate, share) in wanted.items():
        if has_split(data, split) and share != 0:
            for values in evaluate(model, datamodule=data, verbose=False):
                measured |= values
    count = len(batches.y) if isinstance(batches, TensorBatches) else 0
    return {name: float(value) for name, value in measured.items()}, count


def has_split(data: pl.LightningDataModule, split: str) -> bool:
    """Tell whether a datamodule has a split: one that lacks it leaves Lightning's own method.

    One of ours has it if there is an example in it.
    """
    if isinstance(data, TensorDataModule):
        return split in data.splits and len(data.splits[split][1]) > 0
    loader = f"{split}_dataloader"
    return getattr(type(data), loader) is not getattr(pl.LightningDataModule, loader)


def _train_batches(trainer: pl.Trainer, data: pl.LightningDataModule) -> Any:
    if not isinstance(data, TensorDataModule):
        return data.train_dataloader()
    x, y = data.splits["train"]
    loader = trainer.train_dataloader
    if trainer.overfit_batches > 0 and isinstance(loader, TensorBatches):  # type: ignore[attr-defined]
        # What this is for is to see whether just these can be learned by heart.
        index = loader.indices()[: int(trainer.num_training_batches) * loader.batch_size]
        x, y = take(x, index), take(y, index)
    elif len(y) > MOST_TRAIN_EXAMPLES:
        index = torch.arange(MOST_TRAIN_EXAMPLES) * len(y) // MOST_TRAIN_EXAMPLES
        x, y = take(x, index), take(y, index)
    size = max(data.batch_size, EVALUATION_BATCH_SIZE)
    return TensorBatches(x, y, size, rank=trainer.global_rank, world_size=trainer.world_size)


def compare(
    card: Card, data: TensorDataModule, measured: dict[str, float], recorded: dict[str, float]
) -> str:
    """Say how figures differ from those of the card, and the likely reason.

    Args:
        card: The card of the weights.
        data: What `measured` was measured on.
        measured: Figures by their names.
        recorded: The card's.

    Returns:
        A paragraph; nothing if the figures are the same, and the data, too.
    """
    differing = [
        name
        for name in measured.keys() & recorded.keys()
        if not math.isclose(measured[name], recorded[name], rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        and not (math.isnan(measured[name]) and math.isnan(recorded[name]))
    ]
    changes = data_changes(card, data)
    if not differing and not changes:
        return ""
    if not differing:
        return f"The figures are the card's, but the data are not: {'; '.join(changes)}."
    names = ", ".join(name for name in measured if name in differing)
    if not changes:
        if not card.files and data.checksums:
            changes.append("the card does not say which files it was measured on")
        here = "cuda" if torch.cuda.is_available() else "cpu"
        if (card.device[:3] == "cpu") != (here == "cpu"):
            changes.append(f"the card's device was {card.device}")
        if card.precision != "32-true":
            changes.append(f"the card's precision is {card.precision}, which rounds by device")
        if card.torch_version != torch.__version__:
            changes.append(f"the card's torch was {card.torch_version}, here {torch.__version__}")
    why = "; ".join(changes) or "nothing that the card records"
    return f"Other figures than the card's: {names}. The likely reason: {why}."


def data_changes(card: Card, data: TensorDataModule) -> list[str]:
    """Return in what data differ from those that a card's metrics were measured on.

    Files are told apart by their checksums; of a card without them, by whether they are the
    published ones of their name.
    """
    origin = card.dataset.get("origin", data.origin)
    if origin != data.origin:
        return [f"the card's data are {origin}, these are {data.origin}"]
    changes = []
    if card.files:
        here, then = set(data.checksums.values()), set(card.files.values())
        others = {n: None for n, md5 in data.checksums.items() if md5 not in then}
        others |= {n: None for n, md5 in card.files.items() if md5 not in here}
        if others:
            changes.append(f"{', '.join(others)}: not the files of the card, by their checksums")
    else:
        listed = card.dataset.get("unpublished_files", "").split(", ")
        then, here = {n.removesuffix(".gz") for n in listed if n}, set(data.unpublished_files)
        groups = {
            "the card's were not the published ones, these are": then - here,
            "the card's were the published ones, these are not": here - then,
            "neither the card's nor these are the published ones, so they may be others": then
            & here,
        }
        changes += [f"{', '.join(sorted(names))}: {how}" for how, names in groups.items() if names]
    sizes = {split: len(y) for split, (_, y) in data.splits.items()}
    return changes + [
        f"{split} has {sizes[split]:,} examples, not {count:,}"
        for split, count in card.split_sizes.items()
        if split in sizes and sizes[split] != count
    ]


def score(
    model: ZooModule,
    data: TensorDataModule,
    split: str,
    logger: TensorBoardLogger | None = None,
    inspect: str = "basic",
) -> tuple[dict[str, float], torch.Tensor | None]:
    """Measure a network on a split of data that follow it.

    Args:
        model: The network, with the loss that it learnt by.
        data: The data, read as the network does.
        split: Which split.
        logger: Where to show the confusion, and what went wrong; nowhere if None.
        inspect: How much of that, as `--inspect` takes it.

    Returns:
        The metrics by name, and how often each class (row) was taken for each (column); no such
        counts for a regression.
    """
    x, y = data.splits[split]
    batches = TensorBatches(x, y, max(data.batch_size, EVALUATION_BATCH_SIZE))
    seen = _Predictions()
    trainer = pl.Trainer(
        accelerator="auto",
        logger=logger or False,
        callbacks=[seen, *(tensorboard_panels(inspect) if logger else ())],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    measured = trainer.test(model, datamodule=_Held(batches), verbose=False)[0]
    metrics = {name.removesuffix("/test"): value for name, value in measured.items()}
    if model.spec.task == "regression":
        return metrics, None
    predicted, target = (part.cpu() for part in seen.found)
    threshold = model.decision.threshold if model.decision else None
    least = 0.5 if threshold is None else threshold
    predicted = predicted.argmax(1) if predicted.ndim > 1 else (predicted >= least).long()
    count = len(model.class_names)
    pairs = torch.bincount(target * count + predicted, minlength=count * count)
    return metrics, pairs.reshape(count, count)


class _Held(pl.LightningDataModule):
    """Examples as the test split, which panels find there."""

    def __init__(self, batches: TensorBatches) -> None:
        super().__init__()
        self.batches, self.splits = batches, {"test": (batches.x, batches.y)}

    def test_dataloader(self) -> TensorBatches:
        return self.batches


class _Predictions(pl.Callback):
    """Keeps the predictions and targets of a test."""

    found: tuple[torch.Tensor, torch.Tensor]

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        found = cast(ZooModule, pl_module).predictions("test")
        if found is not None:
            self.found = found
