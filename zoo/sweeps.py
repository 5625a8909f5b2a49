"""Sweeps from beginning to end, for `scripts/sweep.py` and `zoo.sweep(...)`."""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule

from datamodules.memory import spec_of
from zoo.classes import class_at
from zoo.console import quiet
from zoo.errors import UserError, unknown
from zoo.names import checked_name
from zoo.run import prepare
from zoo.search_space import Point, Range, Search, parse_ranges, points
from zoo.settings import Settings
from zoo.sweep_result import Sweep, draw, rows, spread, spread_table, trials_table
from zoo.sweeping import (
    PREDICTIONS,
    Plan,
    Prepare,
    best_first,
    point_of,
    test_chosen,
    work,
    work_in_processes,
)
from zoo.tasks import TASKS, Monitor

TRIALS = 20
OUT_OF_FOLD = "out_of_fold.csv"
# Metrics of which less is better.
ERRORS = ("loss", "mae", "rmse")


def sweep(
    model: str = "fashion_ffnn",
    data: Any = None,
    *,
    grid: Mapping[str, Sequence[Any]] | Sequence[str] | None = None,
    random: Mapping[str, Any] | Sequence[str] | None = None,
    search: Literal["grid", "random", "tpe"] | None = None,
    trials: int | None = None,
    seeds: int | None = None,
    folds: int | None = None,
    metric: str | None = None,
    prune: bool = False,
    jobs: int = 1,
    storage: str | Path | None = None,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Sweep:
    """Train a network many times: what `scripts/sweep.py` does, in Python or a notebook.

    The same call again goes on with what is not done yet. With `jobs`, a script needs the usual
    `if __name__ == "__main__":` around the call, as other processes import it.

    Args:
        model: A name of `zoo.list_models()`, or the path of a recipe file.
        data: The data, as `zoo.fit` takes them.
        grid: Values by setting, such as `{"optimizer.lr": [0.1, 0.01]}`; all combinations are
            tried. Without `grid`, `random`, `seeds` and `folds` the rates 1e-2, 1e-3, 1e-4, 1e-5.
        random: Ranges by setting, such as `{"optimizer.lr": "log(1e-4, 1e-2)"}`, also
            `uniform(a, b)`, `int(a, b)` or a list of values; `{}` for the documents' own.
        search: `tpe` lets what came of earlier trials choose within the ranges of `random`.
        trials: How many, of `random` and `tpe`; 20 if not given.
        seeds: Train with so many seeds instead, for mean and standard deviation.
        folds: Cross-validate with so many folds instead.
        metric: What tells the best trial, such as `loss/val`; that of the task if not given.
        prune: End trials early that are worse than the median of the others.
        jobs: How many processes.
        storage: A storage URL of Optuna or a journal file; a journal in the folder if not given.
        name: A name for the sweep and its folder.
        settings: Settings of `fit` that all trials share.
        options: Other arguments of `zoo.fit`, such as `max_epochs=3`.

    Returns:
        The trials, the best first, and what won.

    Raises:
        UserError: If a range is of no setting, or the storage is another sweep's.
    """
    quiet()
    accepted = inspect.signature(prepare).parameters
    fixed = {
        **(settings or {}),
        **{f"trainer.{k}": v for k, v in options.items() if k not in accepted},
    }
    own = {"model": model, "data": data, **{k: v for k, v in options.items() if k in accepted}}
    plan = make_plan(
        partial(_prepare, fixed, own),
        described=json.dumps([fixed, own], default=_described, sort_keys=True),
        grid=_texts(grid),
        random=_texts(random),
        search=search,
        trials=trials,
        seeds=seeds,
        folds=folds,
        metric=metric,
        prune=prune,
        storage=str(storage) if storage else None,
        name=name,
    )
    found = run_plan(plan, jobs)
    if found.best is not None:
        found.text += f"\nagain        zoo.fit({model!r}, ..., settings={found.best})"
    return found


def _prepare(
    fixed: Mapping[str, Any], own: Mapping[str, Any], more: Mapping[str, Any]
) -> tuple[Settings, LightningDataModule | None, str]:
    return prepare({**fixed, **more}, **own)


def _described(value: Any) -> str:
    """Name data in memory by their type and size: a sweep on others is another one."""
    return f"{type(value).__name__} {getattr(value, 'shape', '')}"


def _texts(ranges: Mapping[str, Any] | Sequence[str] | None) -> list[str] | None:
    if ranges is None or not isinstance(ranges, Mapping):
        return None if ranges is None else list(ranges)
    return [
        f"{name}={values if isinstance(values, str) else ','.join(map(str, values))}"
        for name, values in ranges.items()
    ]


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
        tell: What to do with a sentence for the user.

    The others are those of `sweep`.

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
        "search": kind,
        "ranges": [repr(r) for r in ranges],
        "metric": monitor.metric,
        "prune": prune,
    }
    recipe = settings.recipe.name
    digest = hashlib.sha256(json.dumps(request).encode()).hexdigest()[:6]
    own_name = checked_name(name, "the sweep") if name else f"{recipe}-{digest}"
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
        other = other or settings.make_data()
    except UserError:  # these data have no seed, or are given as they are
        tell("The seeds leave the split as it is: these data have no seed of their own.")
        return ranges
    moved = [s for s in ("train", "val", "test") if not _same(data.splits, other.splits, s)]
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
            f"{type(data).__name__} has no folds; tables, sentences and data in memory have. "
            "--seeds shows how far results spread."
        )
    settings, first, _ = prepare({"data.folds": str(folds), "data.fold": "0"})
    _ = (first or settings.make_data()).splits  # more folds than rows of a class are refused now
    numbers = tuple(map(str, range(folds)))
    return [
        Range("data.fold", "choice", numbers),
        Range("data.folds", "choice", (str(folds),) * folds),
    ]


def run_plan(plan: Plan, jobs: int = 1, again: Callable[[Point], str] | None = None) -> Sweep:
    """Do a sweep, or what is left of it.

    Args:
        plan: The sweep.
        jobs: How many processes.
        again: Returns the command that trains a point once more.

    Raises:
        UserError: If every trial failed.
    """
    if jobs < 1:
        raise UserError(f"--jobs must be at least 1, not {jobs}.")
    queue = plan.queue()
    done = sum(trial.state.is_finished() for trial in queue.trials())
    going_on = f"; {done} of them are done already" if done else ""
    print(
        f"{plan.name}: {len(queue.trials())} trials, {plan.search}, by {plan.metric}{going_on} | "
        f"{plan.folder}",
        flush=True,
    )
    live = LiveTable(plan)
    if jobs == 1:
        work(plan, live)
    else:
        work_in_processes(plan, jobs, live)
    return _result(plan, queue, again)


class LiveTable:
    """The best trials so far, drawn again after each; in a file one line for each trial."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self._lines = plan, 0
        self._seen: set[int] | None = None

    def __call__(self, queue: Any) -> None:
        """Show what is new."""
        trials = queue.trials()
        finished = [trial for trial in trials if trial.state.is_finished()]
        if sys.stdout.isatty():
            if self._seen == {trial.number for trial in finished} and self._lines:
                return
            self._seen = {trial.number for trial in finished}
            text = trials_table(self.plan, trials, most=10)
            up = f"\x1b[{self._lines}F\x1b[J" if self._lines else ""
            print(f"{up}{text}", flush=True)
            self._lines = text.count("\n") + 1
            return
        known = self._seen or set()
        for trial in finished:
            if trial.number not in known:
                print(self._line(trial, len(known) + 1, len(trials)), flush=True)
                known = known | {trial.number}
        self._seen = known

    def _line(self, trial: Any, count: int, total: int) -> str:
        settings = "  ".join(f"{k}={v}" for k, v in point_of(self.plan, trial).items())
        told = trial.user_attrs.get("error") or trial.state.name.lower()
        if trial.value is not None:
            told = f"{self.plan.metric} {trial.value:.4f}"
        return f"{count}/{total}  {told}  {settings}"


def _result(plan: Plan, queue: Any, again: Callable[[Point], str] | None) -> Sweep:
    trials = queue.trials()
    ranked = best_first(plan, trials)
    if not ranked:
        errors = [trial.user_attrs.get("error", "") for trial in trials]
        raise UserError(f"No trial came to its end. The first: {next(filter(None, errors), '')}")
    found = Sweep(plan.folder, rows(plan, trials))
    lines = ["", trials_table(plan, trials)]
    lines += [f"trial {r['number']} failed: {r['error']}" for r in found.trials if r["error"]]
    if plan.tests:
        found.metrics, found.std = spread(plan, trials)
        title = f"mean ± standard deviation over {len(ranked)} {plan.search}"
        lines += ["", title, spread_table(found.metrics, found.std), ""]
        if plan.search == "folds":
            from zoo.out_of_fold import join_predictions

            files = [plan.trial_folder(trial.number) / PREDICTIONS for trial in ranked]
            found.predictions = join_predictions(files, plan.folder / OUT_OF_FOLD)
            lines += [f"out of fold  {found.predictions}"]
    else:
        found.best = point_of(plan, ranked[0])
        tested = test_chosen(plan, queue, ranked[0])
        found.metrics = {**ranked[0].user_attrs["metrics"], **tested}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in tested.items())
        chosen = "  ".join(f"{name}={value}" for name, value in found.best.items())
        lines += ["", f"best         trial {ranked[0].number}: {chosen}", f"its test     {shown}"]
        if picture := draw(plan, trials):
            lines += [f"picture      {picture}"]
        if again is not None:
            lines += [f"again        {again(found.best)}"]
    lines += [f"tensorboard  tensorboard --logdir {plan.folder}"]
    found.text = "\n".join(lines)
    return found
