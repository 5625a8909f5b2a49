"""Measure side by side what design choices cost: `python scripts/maintain/benchmark.py [SECTION]`.

Sections:
  inspect   the documented fashion_ffnn with --inspect none, basic and full
  load      making a pretrained network, by create_model and plainly
  loop      a step of fit, of a plain torch loop, of the document's loop
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from datamodules import TensorDataModule
from zoo import create_model, list_models
from zoo.architectures import FeedForward
from zoo.callbacks.tensorboard import tensorboard_panels
from zoo.callbacks.tensorboard.callback import TensorBoardPanels
from zoo.callbacks.tensorboard.registry import LEVELS
from zoo.cards import pretrained_path
from zoo.cli import fit, run_main
from zoo.console import quiet, table
from zoo.errors import UserError, unknown

# inspect: what is trained, and how its process says what the inspections took.
NETWORK = "fashion_ffnn"
INSIDE = "processor seconds in the inspections: "
FIT_WITH_CLOCK = "--fit-with-clock"
# load: one call is a few milliseconds; a repeat is the median of so many.
CALLS = 10
# loop: a tiny network shows the loop, the documented one shows what a user feels.
EXAMPLES, BATCH = 30_000, 64
HIDDEN_WIDTHS = {"784-32-32-10": [32, 32], "784-512-512-10": [512, 512]}


@dataclass(frozen=True)
class Options:
    """How long to measure.

    Attributes:
        repeats: Runs of each variant, interleaved, so that a slow minute hits all of them.
        epochs: Epochs of a run of `inspect`; the documented ones if None.
        source: Where its images come from: `auto`, or `synthetic` to need no file.
    """

    repeats: int = 3
    epochs: int | None = None
    source: str = "auto"


@dataclass(frozen=True)
class Report:
    """What a section found.

    Attributes:
        title: What was measured, in one line.
        header: Titles of the table's columns.
        rows: Its cells, formatted.
        values: All measurements, for a machine to read.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    values: dict[str, Any]


def main(argv: list[str]) -> None:
    """Run the chosen sections and print a table for each."""
    if argv[:1] == [FIT_WITH_CLOCK]:
        return fit_with_clock(argv[1:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="all if none is named")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each variant")
    parser.add_argument("--epochs", type=int, help="epochs of a run of `inspect`")
    parser.add_argument("--source", default="auto", help="its images: auto, real or synthetic")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    chosen = parser.parse_args(argv)
    for name in chosen.sections:
        if name not in SECTIONS:
            raise unknown("section", name, SECTIONS)
    if chosen.repeats < 1:
        raise UserError(f"--repeats must be at least 1, not {chosen.repeats}.")
    quiet()
    options = Options(repeats=chosen.repeats, epochs=chosen.epochs, source=chosen.source)
    values = {}
    for name in chosen.sections or SECTIONS:
        report = SECTIONS[name](options)
        print(f"{name}: {report.title}\n\n{table(report.rows, report.header)}\n", flush=True)
        values[name] = report.values
    if chosen.json:
        chosen.json.write_text(json.dumps(values, indent=2), "utf-8")


def median_ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    """Return the median ratio of measurements made one after the other, pair by pair."""
    return statistics.median(v / r for v, r in zip(values, reference, strict=True))


@dataclass(frozen=True)
class Measured:
    """One run: seconds of wall-clock and of processor time, and the bytes that it wrote.

    `inside` is the processor time between entering and leaving the inspections, of this very run:
    what two runs differ by drowns in noise where others use the machine.
    """

    wall: float
    processor: float
    inside: float
    written: int
    whole: int


def measure_inspect(options: Options) -> Report:
    """Run fit with each level in turn, as often as asked for.

    Processor time is what counts where others use the machine too: waiting is not in it.
    """
    runs: dict[str, list[Measured]] = {level: [] for level in LEVELS}
    for repeat in range(options.repeats):
        turned = LEVELS[repeat % len(LEVELS) :] + LEVELS[: repeat % len(LEVELS)]
        for level in turned:
            runs[level].append(run_fit(level, options))
            print(f"  {level:5}  {runs[level][-1].wall:6.1f} s", file=sys.stderr, flush=True)
    rows, bare = [], runs["none"]
    for level, measured in runs.items():
        ratios = [
            median_ratio([getattr(m, kind) for m in measured], [getattr(m, kind) for m in bare])
            for kind in ("wall", "processor")
        ]
        rows.append(
            [
                level,
                f"{statistics.median(m.wall for m in measured):.1f}",
                f"{statistics.median(m.processor for m in measured):.1f}",
                *(f"{100 * (ratio - 1):+.1f} %" for ratio in ratios),
                f"{100 * statistics.median(m.inside / m.processor for m in measured):.1f} %",
                f"{measured[-1].written / 1e6:.2f}",
                f"{measured[-1].whole / 1e6:.1f}",
            ]
        )
    plural = "s" * (options.epochs != 1)
    epochs = f"{options.epochs} epoch{plural}" if options.epochs else "as documented"
    return Report(
        title=f"{NETWORK}, {epochs}; whole process, median of {options.repeats} interleaved runs",
        header=[
            "--inspect",
            "wall s",
            "processor s",
            "wall",
            "processor",
            "inside",
            "for TensorBoard MB",
            "run directory MB",
        ],
        rows=rows,
        values={level: [vars(m) for m in measured] for level, measured in runs.items()},
    )


def run_fit(level: str, options: Options) -> Measured:
    """Train once in a process and a folder of its own."""
    with TemporaryDirectory() as folder:
        argv = [sys.executable, __file__, FIT_WITH_CLOCK, "--model", NETWORK, "--inspect", level]
        argv += ["--data.source", options.source, "--trainer.default_root_dir", folder]
        if options.epochs:
            argv += ["--trainer.max_epochs", str(options.epochs)]
        before, started = os.times(), time.perf_counter()
        done = subprocess.run(argv, capture_output=True, text=True)
        wall, after = time.perf_counter() - started, os.times()
        if done.returncode:
            raise UserError(f"`fit --inspect {level}` failed: {done.stderr.strip()[-500:]}")
        used = (after.children_user - before.children_user) + (
            after.children_system - before.children_system
        )
        inside = float(done.stdout.rpartition(INSIDE)[2])
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        kept = ("checkpoints", "weights.safetensors")
        written = [p for p in files if not any(part in kept for part in p.parts)]
        return Measured(wall, used, inside, _bytes(written), _bytes(files))


def fit_with_clock(argv: list[str]) -> None:
    """Run fit in this process, and print the processor time that the inspections took."""
    inside = 0.0

    def timed(hook: Callable[..., None]) -> Callable[..., None]:
        def run(*args: Any, **kwargs: Any) -> None:
            nonlocal inside
            started = time.thread_time()
            hook(*args, **kwargs)
            inside += time.thread_time() - started

        return run

    for name, hook in list(vars(TensorBoardPanels).items()):
        if name.startswith("on_"):
            setattr(TensorBoardPanels, name, timed(hook))
    fit.main(argv)
    print(f"{INSIDE}{inside}")


def _bytes(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def measure_load(options: Options) -> Report:
    """Time `create_model(name, pretrained=True)` of every network with weights.

    Beside it the plain way: the class, and `load_state_dict`. That reads no recipe and compares no
    checksum, but draws first values that the file overwrites.
    """
    rows, values = [], {}
    for name in list_models(pretrained=True):
        path = pretrained_path(name)
        network = create_model(name, pretrained=True)
        zoos = partial(create_model, name, pretrained=True)
        plain = partial(make_plainly, type(network), dict(network.hparams), path)
        times: list[tuple[float, float]] = [
            (milliseconds(zoos), milliseconds(plain)) for _ in range(options.repeats)
        ]
        ours, theirs = zip(*times, strict=True)
        rows.append(
            [
                name,
                f"{path.stat().st_size / 1e3:.0f}",
                f"{statistics.median(ours):.1f}",
                f"{statistics.median(theirs):.1f}",
                f"{median_ratio(ours, theirs):.2f}",
            ]
        )
        values[name] = {"create_model": ours, "plain": theirs}
    return Report(
        title=f"milliseconds, medians of {options.repeats} times {CALLS} calls after the first",
        header=["network", "kB", "create_model", "class and load_state_dict", "ratio"],
        rows=rows,
        values=values,
    )


def make_plainly(network: Callable[..., Any], arguments: dict[str, Any], path: Path) -> None:
    """Make a network and load a file into it, with nothing checked."""
    network(**arguments).load_state_dict(load_file(path))


def milliseconds(call: Callable[[], Any]) -> float:
    """Return the median time of a call, the first left out."""
    call()
    taken = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - started))
    return statistics.median(taken)


def measure_loop(options: Options) -> Report:
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
    for title, widths in HIDDEN_WIDTHS.items():
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
    data = Images(batch_size=BATCH)
    model = FeedForward(data.spec, hidden_dim=widths).learn({"optimizer": spec})
    clock = Clock()
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Trainer(
            accelerator="cpu",
            max_epochs=1,
            callbacks=[
                clock,
                ModelCheckpoint(folder, save_last=True),
                *tensorboard_panels("basic"),
            ],
            logger=TensorBoardLogger(folder, default_hp_metric=False),
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
        ).fit(model, datamodule=data)
    return clock.seconds


SECTIONS: dict[str, Callable[[Options], Report]] = {
    "inspect": measure_inspect,
    "load": measure_load,
    "loop": measure_loop,
}

if __name__ == "__main__":
    run_main(main, sys.argv[1:])
