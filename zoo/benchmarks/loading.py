"""What it costs to make a pretrained network, beyond importing what it needs."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from zoo.benchmarks import Options, Report, median_ratio
from zoo.cards import pretrained_path
from zoo.recipe import list_models
from zoo.registry import create_model

# One call is a few milliseconds; a repeat is the median of so many.
CALLS = 10


def measure(options: Options) -> Report:
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
