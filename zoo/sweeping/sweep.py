"""Sweeps from beginning to end, for `scripts/sweep.py` and `zoo.sweep(...)`."""

import hashlib
import inspect
import json
import pickle
import sys
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningDataModule

from zoo.console import quiet
from zoo.errors import UserError, counted
from zoo.running.fitting import prepare
from zoo.running.settings import Settings
from zoo.sweeping.out_of_fold import join_predictions
from zoo.sweeping.plan import Plan, make_plan
from zoo.sweeping.result import Sweep, draw, rows, spread, spread_table, trials_table
from zoo.sweeping.space import Point
from zoo.sweeping.trials import (
    PREDICTIONS,
    best_first,
    point_of,
    test_chosen,
    work,
    work_in_processes,
)

OUT_OF_FOLD = "out_of_fold.csv"


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
        prune: End trials early that are worse than the median of the others, from a third on.
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
    accepted = inspect.signature(prepare).parameters
    fixed = {
        **(settings or {}),
        **{f"trainer.{k}": v for k, v in options.items() if k not in accepted},
    }
    own = {"model": model, "data": data, **{k: v for k, v in options.items() if k in accepted}}
    with warnings.catch_warnings():  # what is hushed is hushed for this call alone
        quiet()
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
    """Tell data in memory by their content: a sweep on others is another one.

    What cannot be told is like nothing else, so that its sweep begins anew.
    """
    try:
        digest = hashlib.sha256(pickle.dumps(value)).hexdigest()[:12]
    except (pickle.PicklingError, TypeError, AttributeError, RuntimeError):
        digest = uuid.uuid4().hex[:12]
    return f"{type(value).__name__} {digest}"


def _texts(ranges: Mapping[str, Any] | Sequence[str] | None) -> list[str] | None:
    if ranges is None or not isinstance(ranges, Mapping):
        return None if ranges is None else list(ranges)
    return [
        f"{name}={values if isinstance(values, str) else ','.join(map(str, values))}"
        for name, values in ranges.items()
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
        f"{plan.name}: {counted(len(queue.trials()), 'trial')}, {plan.search}, by {plan.metric}"
        f"{going_on} | {plan.folder}",
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
