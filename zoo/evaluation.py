"""Measure saved weights again, on the data that their card names."""

import inspect
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import lightning.pytorch as pl

from datamodules import TensorDataModule
from zoo.classes import class_in_data, instantiate
from zoo.errors import UserError
from zoo.weights import Card, card_path, load_weights, read_card


def data_of(card: Card, data_dir: str | None = None) -> TensorDataModule:
    """Make the datamodule whose splits a card's metrics are of.

    Args:
        card: The card.
        data_dir: Folder with the data; that of the card's recipe if None.

    Raises:
        UserError: If the card names no data.
    """
    place = f"The card of '{card.name}'"
    spec = card.recipe.get("data") if isinstance(card.recipe, dict) else None
    arguments = (spec.get("init_args") or {}) if isinstance(spec, dict) else None
    if not isinstance(arguments, dict) or "class_path" not in spec:
        raise UserError(f"{place} does not say which data its metrics are of.")
    # A card may come from anywhere: it can name data, not any class whatever.
    find = partial(class_in_data, place=place)
    data_class = find(spec["class_path"], TensorDataModule)
    # Nothing is augmented in an evaluation, so nothing else need be made; and where to keep a copy
    # of a table on disk is not a card's to say.
    options = {k: v for k, v in arguments.items() if k not in ("augment", "cache_dir")}
    if data_dir and "data_dir" not in inspect.signature(data_class).parameters:
        raise UserError(f"The data of '{card.name}' come from no folder: leave --data_dir out.")
    if data_dir:
        options["data_dir"] = data_dir
    return instantiate({**spec, "init_args": options}, TensorDataModule, find)


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
        precision=precision or card.precision,
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
