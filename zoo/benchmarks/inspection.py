"""What the inspections for TensorBoard cost the documented fashion_ffnn, in whole runs of fit."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from zoo.benchmarks import Options, Report, median_ratio
from zoo.callbacks.tensorboard.registry import LEVELS
from zoo.errors import UserError

NETWORK = "fashion_ffnn"
INSIDE = "processor seconds in the inspections: "


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


def measure(options: Options) -> Report:
    """Run fit with each level in turn, as often as asked for.

    Processor time is what counts where others use the machine too: waiting is not in it.
    """
    runs: dict[str, list[Measured]] = {level: [] for level in LEVELS}
    for repeat in range(options.repeats):
        turned = LEVELS[repeat % len(LEVELS) :] + LEVELS[: repeat % len(LEVELS)]
        for level in turned:
            runs[level].append(run_fit(level, options))
            print(f"  {level:5}  {runs[level][-1].wall:6.1f} s", file=sys.stderr, flush=True)
    rows = []
    for level, measured in runs.items():
        ratios = [
            median_ratio([getattr(m, kind) for m in measured], [getattr(m, kind) for m in bare])
            for kind in ("wall", "processor")
            for bare in [runs["none"]]
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
        argv = [sys.executable, "-P", "-m", __name__, "--model", NETWORK, "--inspect", level]
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
    from zoo.callbacks.tensorboard.callback import TensorBoardPanels
    from zoo.cli.fit import main

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
    main(argv)
    print(f"{INSIDE}{inside}")


def _bytes(paths: list[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


if __name__ == "__main__":
    fit_with_clock(sys.argv[1:])
