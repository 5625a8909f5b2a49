"""What the sections of `benchmark.py` have in common."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import UserError

# One call is a few milliseconds; a repeat is the median of so many.
CALLS = 10


@dataclass(frozen=True)
class Options:
    """How long to measure.

    Attributes:
        repeats: Runs of each variant, interleaved, so that a slow minute hits all of them.
        epochs: Epochs of a run; the documented ones of `inspect`, those of a case if None.
        source: Where images come from: `auto`, or `synthetic` to need no file.
        examples: Training examples of `train`; all if None.
        cases: Names of cases of `train` and `evaluate`; all if there are none.
    """

    repeats: int = 3
    epochs: int | None = None
    source: str = "auto"
    examples: int | None = None
    cases: tuple[str, ...] = ()


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


def median_ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    """Return the median ratio of measurements made one after the other, pair by pair."""
    return statistics.median(v / r for v, r in zip(values, reference, strict=True))


def milliseconds(call: Callable[[], Any]) -> float:
    """Return the median time of a call, the first left out."""
    call()
    taken = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - started))
    return statistics.median(taken)


def run(argv: Sequence[str], cwd: str | None = None) -> tuple[float, str]:
    """Run Python in a process of its own, in which a script of this folder finds the others.

    The commands of the zoo set PYTHONSAFEPATH, and processes inherit it.

    Returns:
        The seconds from its start to its end, and what it printed.

    Raises:
        UserError: If it fails.
    """
    paths = [str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, cwd=cwd, env=environment
    )
    if done.returncode:
        raise UserError(f"`{' '.join(argv)}` failed: {done.stderr.strip()[-500:]}")
    return time.perf_counter() - started, done.stdout
