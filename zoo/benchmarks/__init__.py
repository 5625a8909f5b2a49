"""Measurements side by side: what a design choice costs, on the machine at hand.

A section is a module with `measure(options: Options) -> Report`. To add one, write it and name it
in `SECTIONS`; importing this module imports no torch.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

#: Name: module, and what it compares.
SECTIONS = {
    "inspect": ("zoo.benchmarks.inspection", "fashion_ffnn with --inspect none, basic and full"),
    "load": ("zoo.benchmarks.loading", "making a pretrained network, by create_model and plainly"),
    "loop": ("zoo.benchmarks.loop", "a step of fit, of a plain torch loop, of the document's loop"),
}


@dataclass(frozen=True)
class Options:
    """How long to measure.

    Attributes:
        repeats: Runs of each variant, interleaved, so that a slow minute hits all of them.
        epochs: Epochs of a run; what the section thinks right if None.
        source: Where images come from: `auto`, or `synthetic` to need no file.
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
    values: dict[str, Any] = field(default_factory=dict)


def median_ratio(values: Sequence[float], reference: Sequence[float]) -> float:
    """Return the median ratio of measurements made one after the other, pair by pair."""
    return statistics.median(v / r for v, r in zip(values, reference, strict=True))
