"""What a search tries: ranges of settings, and the points that a grid or chance takes of them.

Importing it imports neither torch nor Optuna.
"""

import inspect
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from zoo.errors import UserError

Search = Literal["grid", "random", "tpe", "seeds", "folds"]
Point = dict[str, str]

# The documents' own: rates by powers of ten; at random 10^-U(2, 4), with momentum U(0.85, 0.99).
DOCUMENTED_GRID = ("optimizer.lr=1e-2,1e-3,1e-4,1e-5",)
DOCUMENTED_RATE = "optimizer.lr=log(1e-4,1e-2)"
DOCUMENTED_MOMENTUM = "optimizer.momentum=uniform(0.85,0.99)"
KINDS = ("log", "uniform", "int", "choice")


@dataclass(frozen=True)
class Range:
    """A setting and the values that it may take.

    Attributes:
        name: The setting, as `fit` has it: `optimizer.lr`.
        kind: `choice` of `values`, `log` or `uniform` from `low` to `high`, or `int`.
        values: The values of a choice, as on the command line.
        low: The lowest value.
        high: The highest value, included.
    """

    name: str
    kind: str
    values: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0

    def __str__(self) -> str:
        """The range as on the command line."""
        if self.kind == "choice":
            return f"{self.name}={','.join(self.values)}"
        return f"{self.name}={self.kind}({self.low!r},{self.high!r})"

    def draw(self, random: np.random.Generator) -> str:
        """Draw a value."""
        if self.kind == "choice":
            return self.values[random.integers(len(self.values))]
        if self.kind == "int":
            return str(random.integers(int(self.low), int(self.high), endpoint=True))
        if self.kind == "log":
            return repr(float(np.exp(random.uniform(math.log(self.low), math.log(self.high)))))
        return repr(float(random.uniform(self.low, self.high)))

    def suggest(self, trial: Any) -> str:
        """Return the value of an Optuna trial, chosen now unless it was before."""
        if self.kind == "choice":
            return str(trial.suggest_categorical(self.name, self.values))
        if self.kind == "int":
            return str(trial.suggest_int(self.name, int(self.low), int(self.high)))
        log = self.kind == "log"
        return repr(float(trial.suggest_float(self.name, self.low, self.high, log=log)))

    def stored(self, value: str) -> Any:
        """Return a value as Optuna keeps it."""
        return (
            value if self.kind == "choice" else int(value) if self.kind == "int" else float(value)
        )

    def ends(self) -> tuple[str, ...]:
        """Return values to check: all of a choice, else the lowest and the highest."""
        if self.kind == "choice":
            return self.values
        number = int if self.kind == "int" else float
        return repr(number(self.low)), repr(number(self.high))


def parse_range(text: str) -> Range:
    """Read `optimizer.lr=log(1e-4,1e-2)`, or `model.dropout=0,0.2,0.5`.

    Raises:
        UserError: If it is none, or nothing is in it.
    """
    name, equals, given = text.partition("=")
    name, given = name.strip().removeprefix("--"), given.strip()
    if not equals or not name:
        raise UserError(
            f"'{text}' is no range: write NAME=VALUE,VALUE,... or NAME=log(LOW,HIGH), such as "
            "optimizer.lr=1e-2,1e-3."
        )
    found = re.fullmatch(r"([a-z_]+)\((.*)\)", given)
    if found and found.group(1) not in KINDS:
        raise UserError(f"{name}: there is no range {found.group(1)}(...); {', '.join(KINDS)} are.")
    if not found or found.group(1) == "choice":
        values = _split(found.group(2) if found else given)
        if not values or not all(values):
            raise UserError(f"The range of {name} is empty: '{text}'. Write {name}=VALUE,VALUE.")
        if len(set(values)) < len(values):
            raise UserError(f"The range of {name} has a value twice: '{text}'.")
        return Range(name, "choice", tuple(values))
    kind, parts = found.group(1), found.group(2).split(",")
    try:
        low, high = map(float, parts)
    except ValueError:
        raise UserError(f"{name}={kind}(LOW,HIGH) takes two numbers, not '{given}'.") from None
    if not (math.isfinite(low) and math.isfinite(high)) or low >= high:
        raise UserError(f"The range of {name} is empty: {low:g} is not below {high:g}.")
    if kind == "log" and low <= 0:
        raise UserError(f"{name}=log(LOW,HIGH) needs a LOW above 0, not {low:g}.")
    if kind == "int" and (low % 1 or high % 1):
        raise UserError(f"{name}=int(LOW,HIGH) takes whole numbers, not '{given}'.")
    return Range(name, kind, (), low, high)


def _split(text: str) -> list[str]:
    """Split at the commas outside of brackets: `[1,2],[3]` are two values."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in ")}]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts] if text else []


def parse_ranges(texts: Sequence[str], search: Search, optimizer: type | None) -> list[Range]:
    """Read ranges; without any, the documents' own.

    Args:
        texts: As `parse_range` reads them.
        search: How points are chosen.
        optimizer: The optimizer's class, to see whether it has a momentum.

    Raises:
        UserError: If one is none, or two are of the same setting.
    """
    if not texts and search == "grid":
        texts = DOCUMENTED_GRID
    elif not texts:
        options = inspect.signature(optimizer).parameters if optimizer else {}
        texts = [DOCUMENTED_RATE, *([DOCUMENTED_MOMENTUM] if "momentum" in options else [])]
    ranges = [parse_range(text) for text in texts]
    names = [r.name for r in ranges]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"There are two ranges of {name}: give one.")
    for r in ranges:
        if search == "grid" and r.kind != "choice":
            raise UserError(
                f"A grid takes single values of {r.name}, not {r.kind}(...): list them, or give "
                "the range to --random."
            )
    return ranges


def points(ranges: Sequence[Range], search: Search, trials: int, seed: int) -> list[Point]:
    """Return the points to try; empty ones where each is chosen only when its turn comes.

    More trials continue the same sequence, so that a search can be prolonged.
    """
    if search == "tpe":
        return [{} for _ in range(trials)]
    if search == "random":
        drawn = [np.random.default_rng([seed, number]) for number in range(trials)]
        return [{r.name: r.draw(random) for r in ranges} for random in drawn]
    names, values = [r.name for r in ranges], [r.values for r in ranges]
    # The settings of seeds and of folds move together.
    together = search in ("seeds", "folds")
    chosen = zip(*values, strict=True) if together else itertools.product(*values)
    return [dict(zip(names, point, strict=True)) for point in chosen]
