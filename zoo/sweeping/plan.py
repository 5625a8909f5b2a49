"""What a sweep does, checked before anything is trained."""

import hashlib
import inspect
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
import torch
from lightning.pytorch import LightningDataModule

from datamodules.memory import spec_of
from zoo.errors import UserError, unknown
from zoo.loading.classes import class_at
from zoo.names import checked_name
from zoo.running.settings import Settings
from zoo.sweeping.queue import TrialQueue
from zoo.sweeping.space import Point, Range, Search, parse_ranges, points
from zoo.tasks import TASKS, Monitor

#: Makes what a `Training` is made of, of further settings.
Prepare = Callable[[dict[str, Any]], tuple[Settings, LightningDataModule | None, str]]

TRIALS = 20
# Metrics of which less is better.
ERRORS = ("loss", "mae", "rmse")


@dataclass(frozen=True)
class Plan:
    """What a sweep does; it can be sent to other processes.

    Attributes:
        prepare: Makes the settings of a trial.
        folder: Where everything of the sweep goes.
        name: Its name, and its study's.
        storage: A storage URL of Optuna, or the path of a journal file.
        search: How points are chosen.
        ranges: What is varied.
        points: The points to try, in order.
        metric: What tells the better trial, measured on validation data.
        mode: Whether that is to be small or large.
        prune: Whether hopeless trials are ended early.
        request: What identifies the sweep, in plain words.
    """

    prepare: Prepare
    folder: Path
    name: str
    storage: str
    search: Search
    ranges: Sequence[Range]
    points: Sequence[Point]
    metric: str
    mode: Literal["min", "max"]
    prune: bool = False
    request: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tests(self) -> bool:
        """Whether every trial is tested: none is chosen where seeds or folds are repeated."""
        return self.search in ("seeds", "folds")

    def queue(self) -> TrialQueue:
        """Open the queue, and put in it what is missing."""
        queue = TrialQueue(
            self.folder, self.storage, self.name, self.mode == "max", dict(self.request)
        )
        queue.enqueue(self.points, self.ranges)
        return queue

    def trial_folder(self, number: int) -> Path:
        """Return where the runs of a trial are."""
        return self.folder / "trials" / f"{number:03d}"

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return what chooses the values of a trial that has none yet."""
        startup = min(10, max(len(self.points) // 3, 1))
        return optuna.samplers.TPESampler(n_startup_trials=startup, constant_liar=True, seed=number)


def make_plan(
    prepare: Prepare,
    described: str,
    *,
    grid: Sequence[str] | None = None,
    random: Sequence[str] | None = None,
    search: str | None = None,
    trials: int | None = None,
    seeds: int | None = None,
    folds: int | None = None,
    metric: str | None = None,
    prune: bool = False,
    storage: str | None = None,
    name: str | None = None,
    tell: Callable[[str], None] = print,
) -> Plan:
    """Work out what a sweep does, and check all of it before anything is trained.

    Args:
        prepare: Makes the settings of a trial.
        described: What is fixed, in words that tell one sweep from another.
        grid: Values to combine, as `parse_range` reads them.
        random: Ranges to draw from.
        search: `tpe` chooses within these ranges by what came of earlier trials.
        trials: How many are drawn.
        seeds: How many seeds.
        folds: How many folds.
        metric: What tells the best trial; that of the task if None.
        prune: End hopeless trials early.
        storage: A storage URL or journal file; a journal in the sweep's folder if None.
        name: Its name.
        tell: What to do with a sentence for the user.

    Raises:
        UserError: If two kinds of sweep are asked for at once, a setting does not exist, or a
            number makes no sense.
    """
    kind = _kind(grid, random, search, seeds, folds)
    for option, count, least in (("trials", trials, 1), ("seeds", seeds, 2), ("folds", folds, 2)):
        if count is not None and count < least:
            raise UserError(f"--{option} must be at least {least}, not {count}.")
    if trials is not None and kind not in ("random", "tpe"):
        raise UserError(f"--trials belongs to --random and --search tpe, not to --{kind}.")
    if prune and kind in ("seeds", "folds"):
        raise UserError(f"--prune would leave some of the {kind} out: they are all wanted.")
    settings, data, _ = prepare({})
    _one_process(settings)
    data = data or settings.make_data()
    spec = spec_of(data)
    monitor = _monitor(metric, settings, spec.task, spec.num_outputs)
    if kind == "seeds":
        ranges = _seed_ranges(prepare, data, settings.config.seed_everything, seeds or 0, tell)
    elif kind == "folds":
        ranges = _fold_ranges(prepare, data, folds or 0)
    else:
        texts = grid if kind == "grid" else random
        optimizer = settings.learning.optimizer
        kind_of = class_at(optimizer["class_path"]) if optimizer else torch.optim.Adam
        ranges = parse_ranges(texts or (), kind, kind_of)
        for r in ranges:  # a wrong name or value is told now, not after hours
            for value in r.ends():
                prepare({r.name: value})
    drawn = points(ranges, kind, trials or TRIALS, settings.config.seed_everything)
    request = {
        "settings": described,
        "files": dict(getattr(data, "checksums", {})),  # changed since, they are other data
        "search": kind,
        "ranges": [str(r) for r in ranges],
        "metric": monitor.metric,
        "prune": prune,
    }
    recipe = settings.recipe.name
    digest = hashlib.sha256(json.dumps(request).encode()).hexdigest()[:6]
    own_name = f"{recipe}-{digest}" if name is None else checked_name(name, "the sweep")
    folder = Path(settings.config.trainer.default_root_dir or "runs") / "sweeps" / own_name
    return Plan(
        prepare=prepare,
        folder=folder,
        name=name or (own_name if storage is None else recipe),
        storage=storage or str(folder / "journal.log"),
        search=kind,
        ranges=ranges,
        points=drawn,
        metric=monitor.metric,
        mode=monitor.mode,
        prune=prune,
        request=request,
    )


def _kind(
    grid: Sequence[str] | None,
    random: Sequence[str] | None,
    search: str | None,
    seeds: int | None,
    folds: int | None,
) -> Search:
    if search not in (None, "grid", "random", "tpe"):
        raise unknown("search", search, ("grid", "random", "tpe"))
    if search == "tpe" and random is None:
        random = ()
    asked = {"grid": grid, "random": random, "seeds": seeds, "folds": folds}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise UserError(f"Give one of {' and '.join(f'--{name}' for name in given)}, not both.")
    if search in ("grid", "random") and given not in ([], [search]):
        raise UserError(f"--search {search} does not go with --{given[0]}.")
    return search or (given[0] if given else "grid")  # type: ignore[return-value]


def _one_process(settings: Settings) -> None:
    """Refuse trials on several processes: each would start the sweep again."""
    trainer = settings.config.trainer
    several = str(trainer.strategy).startswith(("ddp", "fsdp", "deepspeed"))
    if several or trainer.num_nodes > 1 or trainer.devices not in ("auto", 1, "1", -1, None):
        raise UserError(
            "A sweep trains each trial in one process; leave --trainer.strategy, devices and "
            "num_nodes out, and let --jobs work on several trials at once."
        )


def _monitor(metric: str | None, settings: Settings, task_name: str, outputs: int) -> Monitor:
    task = TASKS[task_name]()
    if settings.config.trainer.limit_val_batches in (0, 0.0):
        raise UserError("A sweep compares validation metrics: leave limit_val_batches above 0.")
    if metric is None:
        lowest_loss = settings.recipe.select == "lowest_loss"
        return Monitor("loss/val", "min") if lowest_loss else task.monitor
    known = [f"{name}/val" for name in ("loss", *task.metrics(outputs))]
    if metric not in known:
        close = "Trials are compared on validation data." if metric.endswith("/test") else ""
        raise unknown("metric", metric, known, close)
    return Monitor(metric, "min" if metric.partition("/")[0] in ERRORS else "max")


def _seed_ranges(
    prepare: Prepare, data: Any, first: int, count: int, tell: Callable[[str], None]
) -> list[Range]:
    """Return the seeds of everything that is drawn, and of the splits where those are drawn too."""
    seeds = tuple(str(first + i) for i in range(count))
    ranges = [Range("seed_everything", "choice", seeds)]
    try:
        settings, other, _ = prepare({"data.seed": str(getattr(data, "seed", 0) + 1)})
        drawn: Any = other or settings.make_data()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what there is to say of the data has been said
            _ = drawn.splits
    except UserError:  # these data have no seed, or are given as they are
        tell("The seeds leave the split as it is: these data have no seed of their own.")
        return ranges
    moved = [s for s in ("train", "val", "test") if not _same(data.splits, drawn.splits, s)]
    if not moved:
        tell("The seeds leave the split as it is: it is fixed.")
        return ranges
    fixed = [split for split in ("train", "val", "test") if split not in moved]
    rest = f"; {' and '.join(fixed)} stay" if fixed else ""
    tell(f"The seeds move the split too: {', '.join(moved)}{rest}.")
    start = getattr(data, "seed", 0)
    return [*ranges, Range("data.seed", "choice", tuple(str(start + i) for i in range(count)))]


def _same(left: Mapping[str, Any], right: Mapping[str, Any], split: str) -> bool:
    """Tell whether a split of two readings holds the same examples, by targets and inputs."""
    (x, y), (other_x, other_y) = left[split], right[split]
    if not torch.equal(y, other_y):
        return False
    return not isinstance(x, torch.Tensor) or torch.equal(x, other_x)


def _fold_ranges(prepare: Prepare, data: Any, folds: int) -> list[Range]:
    if "folds" not in inspect.signature(type(data)).parameters:
        raise UserError(
            f"{type(data).__name__} has no folds; tables, sentences, pictures in files and data in "
            "memory have. --seeds shows how far results spread."
        )
    settings, first, _ = prepare({"data.folds": str(folds), "data.fold": "0"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to say of the data has been said
        made: Any = first or settings.make_data()
        _ = made.splits  # refuses more folds than rows of a class
    numbers = tuple(map(str, range(folds)))
    return [
        Range("data.fold", "choice", numbers),
        Range("data.folds", "choice", (str(folds),) * folds),
    ]
