"""What a training step costs: in fit, in a plain loop, and in the document's own loop."""

import statistics
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from zoo.benchmarks import Options, Report, median_ratio

EXAMPLES = 30_000
BATCH = 64
#: Hidden widths: a tiny network shows the loop, the documented one shows what a user feels.
NETWORKS = {"784-32-32-10": [32, 32], "784-512-512-10": [512, 512]}


def measure(options: Options) -> Report:
    """Train for an epoch in each way, one after the other, as often as asked for."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # or processor time would count the waiting of each thread
    x = torch.randint(0, 256, (EXAMPLES, 1, 28, 28), dtype=torch.uint8)
    y = torch.randint(0, 10, (EXAMPLES,))
    ways: dict[str, Callable[[list[int], Tensor, Tensor], float]] = {
        "plain torch loop over tensors": plain_loop,
        "fit: Lightning, our batches, TensorBoard, checkpoints": with_fit,
        "the document's loop: a DataLoader, here over tensors": documents_loop,
    }
    steps = -(-EXAMPLES // BATCH)
    rows, values = [], {}
    for title, widths in NETWORKS.items():
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.repeats):
            for way, train in ways.items():
                seconds[way].append(train(widths, x, y))
        plain = seconds["plain torch loop over tensors"]
        for way, measured in seconds.items():
            micros = statistics.median(measured) / steps * 1e6
            ratio = median_ratio(measured, plain)
            rows.append([title, way, f"{micros:.0f}", f"{ratio:.2f}"])
        values[title] = seconds
    torch.set_num_threads(threads)
    return Report(
        title=(
            f"A step of SGD, batch {BATCH}, one thread; processor time, "
            f"median of {options.repeats} interleaved epochs of {steps} steps"
        ),
        header=["network", "loop", "microseconds", "times plain"],
        rows=rows,
        values=values,
    )


def network(widths: list[int]) -> nn.Sequential:
    """Return the network of the document's loop."""
    sizes = [784, *widths]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(sizes[-1], 10))


def plain_loop(widths: list[int], x: Tensor, y: Tensor) -> float:
    """Time the shortest loop that learns the same: in-memory tensors, nothing recorded."""
    model = network(widths)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    started = time.process_time()
    for index in torch.randperm(len(x)).split(BATCH):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[index].float() / 255), y[index])
        loss.backward()
        optimizer.step()
    return time.process_time() - started


def documents_loop(widths: list[int], x: Tensor, y: Tensor) -> float:
    """Time the loop of document 003: a DataLoader, loss and accuracy read at every step."""
    model = network(widths)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loader = DataLoader(TensorDataset(x.float() / 255, y), batch_size=BATCH, shuffle=True)
    started = time.process_time()
    losses, right = [], 0
    for images, labels in loader:
        optimizer.zero_grad()
        outputs = model(images)
        loss = nn.functional.cross_entropy(outputs, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        right += (outputs.argmax(dim=1) == labels).sum().item()
    return time.process_time() - started


def with_fit(widths: list[int], x: Tensor, y: Tensor) -> float:
    """Time the training epoch of what `fit` sets up, with its default inspections."""
    from lightning.pytorch import Callback, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import TensorBoardLogger

    from datamodules.base import TensorDataModule
    from zoo.architectures import FeedForward
    from zoo.callbacks.tensorboard import tensorboard_panels

    class Images(TensorDataModule):
        @property
        def class_names(self) -> list[str]:
            return [str(i) for i in range(10)]

        @property
        def preprocessing(self) -> dict[str, str]:
            return {"kind": "pixels"}

        def load_splits(self) -> dict[str, tuple[Tensor, Tensor]]:
            return {"train": (x, y), "val": (x[:64], y[:64]), "test": (x[:64], y[:64])}

    class Clock(Callback):
        seconds = 0.0

        def on_train_epoch_start(self, *_: object) -> None:
            self.seconds = time.process_time()

        def on_train_epoch_end(self, *_: object) -> None:
            self.seconds = time.process_time() - self.seconds

    spec = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}}
    model = FeedForward(hidden_dim=widths, optimizer=spec, preprocessing={"kind": "pixels"})
    clock = Clock()
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoints = ModelCheckpoint(folder, save_last=True)
        Trainer(
            accelerator="cpu",
            max_epochs=1,
            callbacks=[clock, checkpoints, *tensorboard_panels("basic")],
            logger=TensorBoardLogger(folder, default_hp_metric=False),
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
        ).fit(model, datamodule=Images(batch_size=BATCH))
    return clock.seconds
