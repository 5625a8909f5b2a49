"""Measure saved weights again, on the data that their card names."""

import inspect
from collections.abc import Iterable
from pathlib import Path

import lightning.pytorch as pl

from datamodules import TensorDataModule
from zoo.classes import class_at
from zoo.errors import UserError
from zoo.registry import instantiate
from zoo.weights import Card, card_path, load_weights, read_card


def data_of(card: Card, data_dir: str | None = None) -> TensorDataModule:
    """Make the datamodule whose splits a card's metrics are of.

    Args:
        card: The card.
        data_dir: Folder with the data; that of the card's recipe if None.

    Raises:
        UserError: If the card names no data.
    """
    spec = card.recipe.get("data") or {}
    # A card may come from anywhere: it can name data, not any class whatever.
    if not spec or not issubclass(class_at(spec["class_path"]), TensorDataModule):
        raise UserError(f"The card of '{card.name}' does not say which data its metrics are of.")
    # Nothing is augmented in an evaluation, so nothing else need be made.
    options = {k: v for k, v in spec.get("init_args", {}).items() if k != "augment"}
    if data_dir and "data_dir" not in inspect.signature(class_at(spec["class_path"])).parameters:
        raise UserError(f"The data of '{card.name}' come from no folder: leave --data_dir out.")
    if data_dir:
        options["data_dir"] = data_dir
    return instantiate({"class_path": spec["class_path"], "init_args": options})


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
    trainer = pl.Trainer(
        accelerator="cpu" if card.device.startswith("cpu") else "auto",
        precision=precision or card.precision,  # type: ignore[arg-type]  # a name of Lightning's
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    model, data = load_weights(weights), data or data_of(card)
    metrics: dict[str, float] = {}
    for split in splits:
        evaluate = trainer.test if split == "test" else trainer.validate
        metrics |= evaluate(model, datamodule=data, verbose=False)[0]
    return metrics
