"""What parity and protocol tests share: a network of the zoo with its data, trained in place."""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

import zoo
from datamodules import TensorDataModule
from zoo import ZooModule
from zoo.learning import SETTINGS
from zoo.recipe import find_recipe


def data_of(name: str, **overrides: Any) -> TensorDataModule:
    """Return a network's own data; images and tables drawn, so that no file is needed."""
    arguments = find_recipe(name).data
    if arguments["class_path"] in (
        f"datamodules.{n}" for n in ("MNIST", "FashionMNIST", "Tabular")
    ):
        overrides.setdefault("source", "synthetic")
    return zoo.create_datamodule(name, **overrides)


def network_and_data(
    name: str, data: dict[str, Any] | None = None, **overrides: Any
) -> tuple[ZooModule, TensorDataModule]:
    """Return a recipe's network and data, with arguments of either changed."""
    datamodule = data_of(name, **data or {})
    learning = {k: overrides.pop(k) for k in SETTINGS if k in overrides}
    model = zoo.create_model(name, datamodule=datamodule, learning=learning, **overrides)
    return model, datamodule


class LossPerUpdate(Callback):
    """Keeps the loss of every update, as it was before the update."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, module: ZooModule, outputs: Any, *_: object
    ) -> None:
        self.values.append(float(outputs["loss"]))


def fit(model: ZooModule, datamodule: TensorDataModule, **options: Any) -> tuple[Trainer, list]:
    """Train on the CPU and write nothing.

    Returns:
        The trainer, and the loss of every update.
    """
    losses = LossPerUpdate()
    options["callbacks"] = [*options.pop("callbacks", []), losses]
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = Trainer(accelerator="cpu", num_sanity_val_steps=0, **{**quiet, **options})
    trainer.fit(model, datamodule=datamodule)
    return trainer, losses.values


def fit_recipe(name: str, model: ZooModule, datamodule: TensorDataModule, **options: Any) -> Any:
    """Train as a recipe's trainer says, with some of it changed."""
    return fit(model, datamodule, **{**find_recipe(name).trainer, **options})


def linear_layers(model: torch.nn.Module) -> list[torch.nn.Linear]:
    """Return a network's linear layers, the first one first."""
    return [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]


def share(model: torch.nn.Module, reference: torch.nn.Module) -> None:
    """Give a document's network the weights of ours: both list their layers in the same order."""
    ours = list(model.parameters())
    theirs = list(reference.parameters())
    assert [p.shape for p in ours] == [p.shape for p in theirs]
    with torch.no_grad():
        for own, their in zip(ours, theirs, strict=True):
            their.copy_(own)
