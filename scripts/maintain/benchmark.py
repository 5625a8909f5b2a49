"""Measure side by side what design choices cost: `python scripts/maintain/benchmark.py [SECTION]`.

Sections:
  inspect   the documented fashion_ffnn with --inspect none, basic and full
  load      making a pretrained network, by create_model and plainly
  train     fit beside the document's loop, the best loop by hand, stock Lightning, other libraries
  evaluate  a test with all metrics and a prediction, beside a bare forward
  start     from the start of the process to the first step
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import load_file

import speed
from measuring import CALLS, Options, Report, median_ratio, milliseconds, run
from zoo import create_model, list_models
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


def main(argv: list[str]) -> None:
    """Run the chosen sections and print a table for each."""
    if argv[:1] == [FIT_WITH_CLOCK]:
        return fit_with_clock(argv[1:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="all if none is named")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each variant")
    parser.add_argument("--epochs", type=int, help="epochs of a run")
    parser.add_argument("--examples", type=int, help="training examples of `train`; all if not set")
    parser.add_argument("--cases", nargs="+", default=(), help="of `train` and `evaluate`")
    parser.add_argument("--source", default="auto", help="images: auto, real or synthetic")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    chosen = parser.parse_args(argv)
    for name in chosen.sections:
        if name not in SECTIONS:
            raise unknown("section", name, SECTIONS)
    if chosen.repeats < 1:
        raise UserError(f"--repeats must be at least 1, not {chosen.repeats}.")
    quiet()
    given = {field.name: getattr(chosen, field.name) for field in fields(Options)}
    options = Options(**{**given, "cases": tuple(chosen.cases)})
    values = {}
    for name in chosen.sections or SECTIONS:
        report = SECTIONS[name](options)
        print(f"{name}: {report.title}\n\n{table(report.rows, report.header)}\n", flush=True)
        values[name] = report.values
    if chosen.json:
        chosen.json.write_text(json.dumps(values, indent=2), "utf-8")


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
        argv = [__file__, FIT_WITH_CLOCK, "--model", NETWORK, "--inspect", level]
        argv += ["--data.source", options.source, "--trainer.default_root_dir", folder]
        if options.epochs:
            argv += ["--trainer.max_epochs", str(options.epochs)]
        before = os.times()
        wall, printed = run(argv)
        after = os.times()
        used = (after.children_user - before.children_user) + (
            after.children_system - before.children_system
        )
        inside = float(printed.rpartition(INSIDE)[2])
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


SECTIONS: dict[str, Callable[[Options], Report]] = {
    "inspect": measure_inspect,
    "load": measure_load,
    "train": speed.measure_train,
    "evaluate": speed.measure_evaluate,
    "start": speed.measure_start,
}

if __name__ == "__main__":
    run_main(main, sys.argv[1:])
