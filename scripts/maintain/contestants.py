"""The contestants of `benchmark.py train`, each in its own words, on the same examples.

`documented` is the loop of the document: a torchvision dataset, ToTensor, a DataLoader. `tight` is
the best loop that one can write by hand. `stock` is a LightningModule as tutorials write it. `zoo`
is what `fit` runs, everything on.
"""

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy
from torchvision import datasets, transforms

from measuring import Options
from zoo.run_recipe import choose_recipe
from zoo.running.settings import Settings, as_options
from zoo.running.training import Training

SGD, ADAM = torch.optim.SGD, torch.optim.Adam
BF16 = "bf16-mixed"
NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the loss of one output, sigmoid and logarithm in one."""
    return nn.functional.binary_cross_entropy_with_logits(logits.squeeze(-1), target)


def entropy_of_sigmoid(logits: Tensor, target: Tensor) -> Tensor:
    """Return that loss as document 003 has it: the network ends with sigmoid, the loss is BCELoss.

    It rounds otherwise than the fused one, with which an update of `tight` takes 0.95 of the time.
    """
    return nn.functional.binary_cross_entropy(torch.sigmoid(logits).squeeze(-1), target)


@dataclass(frozen=True)
class Case:
    """A documented training, as one writes it by hand.

    Attributes:
        recipe: Its name in the zoo.
        network: Makes the document's layers; they read floats.
        optimizer: Makes its optimizer for parameters.
        batch_size: Examples in a batch.
        epochs: How many are measured; the documented ones of a small table.
        clip: Norm that gradients are clipped to.
        channels_last: Whether convolutions are faster with channels last.
        replacement: Whether examples are drawn with replacement.
        loss: Compares logits with targets, as the document does: nobody gets another function of
            the weights to compute.
        precisions: What it is measured in; nobody rounds a table of a few numbers.
    """

    recipe: str
    network: Callable[[], nn.Module]
    optimizer: Callable[..., torch.optim.Optimizer]
    batch_size: int = 64
    epochs: int = 1
    clip: float | None = None
    channels_last: bool = False
    replacement: bool = False
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy
    precisions: tuple[str, ...] = ("32-true", BF16)


class LastState(nn.Module):
    """Rows of an image, read by an LSTM; its last state is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(28, 128, 2, batch_first=True), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 10) of images (N, 1, 28, 28)."""
        return self.head(self.lstm(x.squeeze(1))[0][:, -1])


def _fashion() -> nn.Module:
    hidden = [nn.Linear(784, 512), nn.Dropout(0.2), nn.ReLU()]
    hidden += [nn.Linear(512, 512), nn.Dropout(0.2), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(512, 10))


def _classifier() -> nn.Module:
    hidden = [nn.Linear(784, 50), nn.ReLU(), nn.BatchNorm1d(50)]
    hidden += [nn.Linear(50, 20), nn.ReLU(), nn.LayerNorm(20)]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(20, 10))


def _convolutions() -> nn.Module:
    layers = [nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(20, 64, 5), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 10))


CASES = {
    case.recipe: case
    for case in (
        Case("fashion_ffnn", _fashion, partial(SGD, lr=0.1, momentum=0.9), epochs=2),
        Case("mnist_classifier", _classifier, partial(ADAM, lr=0.001, weight_decay=1e-8), epochs=2),
        Case("mnist_lstm", LastState, partial(ADAM, lr=0.001), clip=1.0),
        Case("conv_net", _convolutions, partial(SGD, lr=0.01, momentum=0.9), channels_last=True),
        Case(
            "logistic_regression",
            lambda: nn.Linear(2, 1),
            partial(SGD, lr=0.001),
            batch_size=1,
            epochs=2001,
            replacement=True,
            loss=entropy_of_sigmoid,
            precisions=("32-true",),
        ),
        Case(
            "water_potability",
            lambda: nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1)),
            partial(SGD, lr=0.001),
            batch_size=2,
            epochs=2,
            loss=binary_cross_entropy,
            precisions=("32-true",),
        ),
    )
}


@dataclass
class Clock(pl.Callback):
    """Wall-clock and processor seconds of some epochs."""

    wall: float = 0.0
    processor: float = 0.0
    _started: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def __enter__(self) -> "Clock":
        self._started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._started[0]
        self.processor = time.process_time() - self._started[1]

    def on_train_start(self, *_: object) -> None:
        """Start with the first epoch; it is the last callback, so all is set up."""
        self.__enter__()

    def on_train_end(self, *_: object) -> None:
        """Stop behind the last epoch: validations, checkpoints and pictures are in it."""
        self.__exit__()


def zoo_settings(case: Case, options: Options, **changes: Any) -> Settings:
    """Return the settings that `fit` has for a case."""
    recipe = choose_recipe(case.recipe)
    if case.batch_size == 64:  # images
        changes["data.source"] = options.source
    changes["trainer.accelerator"] = "cpu"
    return Settings(recipe, as_options(changes))


@cache
def examples(case: Case, options: Options) -> tuple[Tensor, Tensor]:
    """Return the training examples: images as bytes, or a table as the network reads it."""
    training = Training(zoo_settings(case, options, **{"trainer.fast_dev_run": True}))
    x, y = training.data.splits["train"]
    if x.dtype != torch.uint8:
        x = training.model.preprocess(x[torch.arange(len(x))])
    return x[: options.examples], y[: options.examples]


class Pictures(datasets.MNIST):
    """A torchvision dataset of images that are in memory already."""

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        datasets.VisionDataset.__init__(self, "", transform=transforms.ToTensor())
        self.data, self.targets = images.squeeze(1), targets


def loader_of(case: Case, options: Options) -> DataLoader:
    """Return the loader of a document or a tutorial."""
    x, y = examples(case, options)
    dataset: Dataset = Pictures(x, y) if x.dtype == torch.uint8 else TensorDataset(x, y)
    return DataLoader(dataset, batch_size=case.batch_size, shuffle=True)


def documented(case: Case, options: Options, precision: str) -> Clock:
    """Train as the document does: loss and accuracy are read at every step."""
    model, loader = case.network(), loader_of(case, options)
    optimizer = case.optimizer(model.parameters())
    with Clock() as clock:
        for _ in range(options.epochs):
            losses, right = [], 0
            for x, y in loader:
                optimizer.zero_grad()
                logits = model(x)
                loss = case.loss(logits, y)
                loss.backward()
                if case.clip:
                    nn.utils.clip_grad_norm_(model.parameters(), case.clip)
                optimizer.step()
                losses.append(loss.item())
                chosen = logits.squeeze(-1) > 0 if y.is_floating_point() else logits.argmax(dim=1)
                right += (chosen == y).sum().item()
    return clock


def tight(case: Case, options: Options, precision: str) -> Clock:
    """Train by the best loop: tensors in memory, a fused optimizer, nothing recorded."""
    x, y = examples(case, options)
    model = case.network()
    if case.channels_last:
        model.to(memory_format=torch.channels_last)
    parameters = list(model.parameters())
    optimizer = case.optimizer(parameters, fused=True)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == BF16)
    with Clock() as clock:
        for _ in range(options.epochs):
            order = torch.randperm(len(y))
            if case.replacement:
                order = torch.randint(len(y), (len(y),))
            for index in order.split(case.batch_size):
                batch = x.index_select(0, index)
                if batch.dtype == torch.uint8:
                    batch = batch.float().div_(255)
                with autocast:
                    loss = case.loss(model(batch), y.index_select(0, index))
                optimizer.zero_grad()
                loss.backward()
                if case.clip:
                    nn.utils.clip_grad_norm_(parameters, case.clip)
                optimizer.step()
    return clock


class Stock(pl.LightningModule):
    """A network as tutorials write it."""

    def __init__(self, case: Case, binary: bool) -> None:
        super().__init__()
        self.case, self.network = case, case.network()
        self.accuracy = BinaryAccuracy() if binary else MulticlassAccuracy(num_classes=10)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch, and log it and the accuracy."""
        x, y = batch
        logits = self.network(x)
        loss = self.case.loss(logits, y)
        self.accuracy(logits.squeeze(-1), y)
        self.log("train_loss", loss, prog_bar=True)
        self.log("train_acc", self.accuracy, prog_bar=True, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return self.case.optimizer(self.parameters())


def stock(case: Case, options: Options, precision: str) -> Clock:
    """Train by Lightning as it comes: progress bar, checkpoints, logger."""
    clock = Clock()
    os.environ[NVML] = "1"  # as Lightning sets it; the others' processes would not have it
    model = Stock(case, binary=examples(case, options)[1].is_floating_point())
    with silently() as folder:
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=options.epochs,
            precision=precision,
            callbacks=[clock],
            default_root_dir=folder,
            gradient_clip_val=case.clip,
        )
        trainer.fit(model, loader_of(case, options))
    os.environ.pop(NVML)
    return clock


def zoo(case: Case, options: Options, precision: str) -> Clock:
    """Train as `fit` does, with everything on."""
    clock = Clock()
    with silently() as folder:
        settings = {"max_epochs": options.epochs, "precision": precision}
        settings["default_root_dir"] = folder
        changes = {f"trainer.{key}": value for key, value in settings.items()}
        training = Training(zoo_settings(case, options, **changes), inspect="basic")
        x, y = training.data.splits["train"]
        if options.examples:
            training.data.splits["train"] = x[: options.examples], y[: options.examples]
        training.trainer.callbacks.append(clock)
        training.fit()
    return clock


@contextlib.contextmanager
def silently() -> Iterator[str]:
    """Print nothing, and write into a folder that is removed."""
    with (
        TemporaryDirectory() as folder,
        open(os.devnull, "w") as nowhere,  # noqa: PTH123
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield folder


Contestant = Callable[[Case, Options, str], Clock]
CONTESTANTS: dict[str, Contestant] = {f.__name__: f for f in (documented, tight, stock, zoo)}
