"""A run: what a training leaves behind, and how it is begun in Python."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch import LightningDataModule

from datamodules.memory import as_datamodule
from zoo.console import quiet
from zoo.errors import UserError
from zoo.recipe import DATAMODULES
from zoo.run_folder import CONFIG, find_run
from zoo.run_recipe import choose_recipe, default_model
from zoo.running.run import Run
from zoo.running.settings import Settings, as_options
from zoo.running.training import Training

#: How a recipe has a table read, whichever it is.
READING = ("scaling", "missing_indicators", "bins", "select", "code_columns", "batch_size")


def fit(
    model: str | None = None,
    data: Any = None,
    *,
    target: str | list[str] | None = None,
    weights: str | Path | None = None,
    pretrained: bool = False,
    learning: Mapping[str, Any] | None = None,
    optimizer: str | Mapping[str, Any] | None = None,
    lr: float | None = None,
    lr_scheduler: str | Mapping[str, Any] | None = None,
    seed: int | None = None,
    inspect: str = "basic",
    settings: Mapping[str, Any] | None = None,
    checkpoint_every: str = "5min",
    resume: bool | str | Path = False,
    **trainer: Any,
) -> Run:
    """Train a network of the zoo: what `scripts/fit.py` does, in Python or a notebook.

    Args:
        model: A name of `zoo.list_models()`, or the path of a recipe file. Default: `tabular_net`
            for a table, else `fashion_ffnn`.
        data: Other data than the recipe's: a name such as `mnist`, the path of a table, the class
            path of a datamodule, a LightningDataModule, a DataFrame (with `target`), a pair (x, y)
            of arrays or tensors, or a Dataset.
        target: The column of a table to predict, or several.
        weights: What to start from: a name, a run directory or a weights file.
        pretrained: Start from the weights that the zoo ships for this name.
        learning: Changes of how it learns, such as `{"loss": "mse"}`.
        optimizer: A class of torch.optim by name, or its class path and arguments.
        lr: The optimizer's learning rate.
        lr_scheduler: A schedule by name, or its class path and arguments.
        seed: The seed of everything that is drawn.
        inspect: What TensorBoard shows, as `--inspect` takes it.
        settings: Further settings as the command line has them, such as
            `{"model.hidden_dim": 256, "data.batch_size": 128}`.
        checkpoint_every: The longest time or number of updates between two checkpoints: `30s`,
            `5min`, `1h`, `200`.
        resume: Go on with the newest unfinished run of `model` (True), or with the run in a folder.
            The settings are that run's; `max_epochs` beside it makes it longer.
        trainer: Arguments of Lightning's Trainer, such as `max_epochs=3`.

    Returns:
        The network, its metrics and its run directory.

    Raises:
        UserError: If a setting does not exist or does not fit.
    """
    with warnings.catch_warnings():  # what is hushed is hushed for this call alone
        quiet()
        folder = None
        if resume:
            root = Path(trainer.get("default_root_dir") or "runs")
            folder = find_run(resume, model or "fashion_ffnn", root)
        prepared = prepare(
            {**{f"trainer.{key}": value for key, value in trainer.items()}, **(settings or {})},
            model=model,
            data=data,
            target=target,
            weights=weights,
            pretrained=pretrained,
            learning=learning,
            optimizer=optimizer,
            lr=lr,
            lr_scheduler=lr_scheduler,
            seed=seed,
            inspect=inspect,
            resume=folder,
        )
        training = Training(*prepared, checkpoint_every=checkpoint_every, resume=folder)
        training.announce()
        try:
            return training.fit()
        except SystemExit:  # Lightning's, after a Ctrl-C: it has saved, and would end a notebook
            raise KeyboardInterrupt from None


def prepare(
    settings: Mapping[str, Any],
    *,
    model: str | None = None,
    data: Any = None,
    target: str | list[str] | None = None,
    weights: str | Path | None = None,
    pretrained: bool = False,
    learning: Mapping[str, Any] | None = None,
    optimizer: str | Mapping[str, Any] | None = None,
    lr: float | None = None,
    lr_scheduler: str | Mapping[str, Any] | None = None,
    seed: int | None = None,
    inspect: str = "basic",
    resume: Path | None = None,
) -> tuple[Settings, LightningDataModule | None, str]:
    """Return what a `Training` is made of: settings, data if they are given, and what is shown.

    The arguments are those of `fit`; `resume` is the folder of a run, whose settings are taken.
    """
    named = str(data) if isinstance(data, (str, Path)) else None
    settings, given = dict(settings), None
    is_frame = hasattr(data, "columns") and hasattr(data, "to_csv")
    if resume:
        recipe = choose_recipe(configs=[resume / CONFIG])
    else:
        if model is None and weights is None:
            is_table = is_frame or getattr(data, "preprocessing", {}).get("kind") == "table"
            model = default_model("csv" if is_table else named) or "fashion_ffnn"
        recipe = choose_recipe(
            model, data=named, weights=str(weights) if weights else None, pretrained=pretrained
        )
    if data is not None and not named:
        own = () if isinstance(data, LightningDataModule) else settings
        options = {key: settings.pop(key) for key in tuple(own) if key.startswith("data.")}
        options = {key.removeprefix("data."): value for key, value in options.items()}
        if resume and not isinstance(data, LightningDataModule):
            options = recipe.data.get("init_args", {}) | options
            of_run = options.pop("target", None)
            target = of_run if target is None else target
        options = {key: _value(value) for key, value in options.items()}
        if is_frame and recipe.data["class_path"] == DATAMODULES["csv"]:
            reading = recipe.data["init_args"].items()
            options = {k: v for k, v in reading if k in READING} | options
        try:
            given = as_datamodule(data, target, **options)
        except TypeError as error:  # an option that these data do not have
            raise UserError(f"The data cannot be made: {error}.") from error
    changes: dict[str, Any] = {f"learning.{key}": v for key, v in (learning or {}).items()}
    for key, chosen in {"optimizer": optimizer, "lr_scheduler": lr_scheduler}.items():
        if chosen is not None:
            recipe = replace(recipe, **{key: None})  # type: ignore[arg-type]
            changes[key] = chosen
    single: dict[str, Any] = {"optimizer.lr": lr, "seed_everything": seed}
    single["data.target"] = None if given else target
    changes |= {key: value for key, value in single.items() if value is not None}
    argv = as_options({**changes, **settings})
    return Settings(recipe, argv, with_data=given is None), given, inspect


def _value(value: Any) -> Any:
    """Return what a text of the command line stands for; anything else as it is."""
    return yaml.safe_load(value) if isinstance(value, str) else value
