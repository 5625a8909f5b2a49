"""What came of a sweep: tables, a picture, and the settings that won."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from zoo.callbacks.tensorboard.figures import GREY, new_figure, plain_axes
from zoo.console import duration, table
from zoo.sweeping.plan import Plan
from zoo.sweeping.space import Point
from zoo.sweeping.trials import best_first, point_of

PICTURE = "search.png"
STATES = {
    TrialState.WAITING: "waits",
    TrialState.RUNNING: "runs",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass
class Sweep:
    """What a sweep leaves behind.

    Attributes:
        folder: Its folder; `tensorboard --logdir FOLDER` shows all trials.
        trials: Of every trial its `settings`, `state`, `metrics` and `seconds`; the best first.
        best: The settings that won; none where seeds or folds are repeated.
        metrics: The best one's metrics by `metric/split`, test among them; over seeds or folds
            their means.
        std: Over seeds or folds, the standard deviations.
        text: What the command prints.
        predictions: The file of out-of-fold predictions, of a cross-validation.
    """

    folder: Path
    trials: list[dict[str, Any]] = field(default_factory=list)
    best: Point | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    std: dict[str, float] = field(default_factory=dict)
    text: str = ""
    predictions: Path | None = None

    def __str__(self) -> str:
        """The tables, and where everything is."""
        return self.text


def rows(plan: Plan, trials: Sequence[Any]) -> list[dict[str, Any]]:
    """Return every trial as plain values, the best first, then the others by number."""
    ranked = best_first(plan, trials)
    if plan.tests:
        ranked = sorted(ranked, key=lambda trial: trial.number)
    done = {trial.number for trial in ranked}
    return [
        {
            "number": trial.number,
            "settings": point_of(plan, trial),
            "state": STATES.get(trial.state, "done"),
            "metrics": dict(trial.user_attrs.get("metrics", {})),
            "seconds": trial.user_attrs.get("seconds"),
            "error": trial.user_attrs.get("error", ""),
        }
        for trial in [*ranked, *(trial for trial in trials if trial.number not in done)]
    ]


def trials_table(plan: Plan, trials: Sequence[Any], most: int | None = None) -> str:
    """Return a table of the trials, the best first.

    Args:
        plan: The sweep.
        trials: Its trials.
        most: How many to show; the rest is counted.
    """
    split = "/test" if plan.tests else "/val"
    all_rows = rows(plan, trials)
    shown = [row for row in all_rows if row["state"] != "waits"]
    names = list(dict.fromkeys(n for row in shown for n in row["metrics"] if n.endswith(split)))
    names.sort(key=lambda name: name != plan.metric)
    settings = [r.name for r in plan.ranges if r.kind != "choice" or len(set(r.values)) > 1]
    cells = [
        [
            str(row["number"]),
            *(short(row["settings"].get(name, "")) for name in settings),
            *(f"{row['metrics'][n]:.4f}" if n in row["metrics"] else "" for n in names),
            duration(row["seconds"]) if row["seconds"] is not None else "",
            row["state"] if row["state"] != "done" else "",
        ]
        for row in shown[:most]
    ]
    text = table(cells, ["trial", *settings, *names, "time", ""]) if cells else ""
    finished = sum(trial.state.is_finished() for trial in trials)
    rest = f", {len(shown) - most} more not shown" if most and len(shown) > most else ""
    return f"{text}\n{finished} of {len(trials)} trials done{rest}".lstrip()


def short(value: str) -> str:
    """Return a drawn number to four digits; anything else as it is."""
    try:
        number = float(value)
    except ValueError:
        return value
    return value if len(value) <= 8 else f"{number:.4g}"


def spread(plan: Plan, trials: Sequence[Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Return mean and standard deviation (of a sample) of the metrics over trials."""
    found = [trial.user_attrs["metrics"] for trial in best_first(plan, trials)]
    values = {name: [m[name] for m in found if name in m] for name in (found[0] if found else {})}
    means = {name: statistics.fmean(given) for name, given in values.items()}
    stds = {
        name: statistics.stdev(given) if len(given) > 1 else 0.0 for name, given in values.items()
    }
    return means, stds


def spread_table(means: dict[str, float], stds: dict[str, float]) -> str:
    """Return mean ± standard deviation, a row for each split."""
    titles = {"train": "train", "val": "validation", "test": "test"}
    names = list(dict.fromkeys(name.partition("/")[0] for name in means))
    cells = [
        [
            title,
            *(
                f"{means[key]:.4f} ± {stds[key]:.4f}" if (key := f"{name}/{split}") in means else ""
                for name in names
            ),
        ]
        for split, title in titles.items()
        if any(name.endswith(f"/{split}") for name in means)
    ]
    return table(cells, ["", *names])


def draw(plan: Plan, trials: Sequence[Any]) -> Path | None:
    """Draw every varied setting against the metric, and return the picture's path."""
    ranked = best_first(plan, trials)
    varied = [r for r in plan.ranges if len({point_of(plan, t).get(r.name) for t in ranked}) > 1]
    if plan.tests or not varied:
        return None
    figure = new_figure(1.0 + 3.2 * len(varied), 3.4)
    all_axes = figure.subplots(1, len(varied), sharey=True, squeeze=False)[0]
    scores = [trial.value for trial in ranked]
    for r, axes in zip(varied, all_axes, strict=True):
        texts = [point_of(plan, trial)[r.name] for trial in ranked]
        places: list[Any] = [_number(text) for text in texts]
        if any(math.isnan(place) for place in places):  # names: in the order of the range
            places = [r.values.index(text) for text in texts]
            axes.set_xticks(range(len(r.values)), r.values, rotation=30)
        elif min(places) > 0 and max(places) / min(places) >= 20:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter("")  # over two decades they would overlap
        axes.scatter(places, scores, s=22, color=GREY)
        axes.scatter(places[:1], scores[:1], s=70, color="#d93025", zorder=3, label="best")
        axes.set_xlabel(r.name)
        plain_axes(axes)
    all_axes[0].set_ylabel(plan.metric)
    all_axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(plan.folder / PICTURE)
    return plan.folder / PICTURE


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
