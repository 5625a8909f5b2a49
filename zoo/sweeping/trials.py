"""The work of a sweep: trials that are trained, gone on with, pruned; in several processes."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from zoo.cards import read_card
from zoo.console import quiet
from zoo.errors import NotFiniteError, UserError
from zoo.evaluation import measure
from zoo.loading.checkpoints import last_checkpoint
from zoo.loading.classes import trusting
from zoo.run_folder import WEIGHTS, is_finished
from zoo.running.training import Training
from zoo.sweeping.out_of_fold import write_predictions
from zoo.sweeping.plan import Plan
from zoo.sweeping.queue import TrialQueue
from zoo.sweeping.space import Point

# A trial that ends its process every time (too little memory, say) must not go on for ever.
MOST_STARTS = 10
POLL_SECONDS = 0.5
OUTPUT, PREDICTIONS = "output.txt", "predictions.csv"


def work(plan: Plan, after_trial: Callable[[TrialQueue], None] = lambda queue: None) -> None:
    """Do trials until none is left, those included that others leave behind."""
    queue = plan.queue()
    if plan.prune:
        queue.study.pruner = optuna.pruners.MedianPruner(n_startup_trials=3)
    parent = multiprocessing.parent_process()
    while not queue.is_finished and (parent is None or parent.is_alive()):
        with queue.take(plan.sampler) as trial:
            if trial is not None:
                _do(plan, queue, trial)
        if trial is None:
            time.sleep(POLL_SECONDS)
        after_trial(queue)


def _do(plan: Plan, queue: TrialQueue, trial: optuna.Trial) -> None:
    """Train a trial, or go on with it, and tell the queue what came of it."""
    starts = trial.user_attrs.get("starts", 0) + 1
    trial.set_user_attr("starts", starts)
    point = {r.name: r.suggest(trial) for r in plan.ranges}
    folder = plan.trial_folder(trial.number)
    folder.mkdir(parents=True, exist_ok=True)
    state, value, error = optuna.trial.TrialState.FAIL, None, ""
    try:
        if starts > MOST_STARTS:
            raise UserError(f"its process was ended {MOST_STARTS} times")
        metrics = _metrics_of(plan, folder) or _train(plan, trial, point, folder)
        trial.set_user_attr("metrics", metrics)
        value = metrics[plan.metric]
        state = optuna.trial.TrialState.COMPLETE
        if value != value:
            state, value, error = optuna.trial.TrialState.FAIL, None, f"{plan.metric} is no number"
    except optuna.TrialPruned:
        state, value = optuna.trial.TrialState.PRUNED, None
    except (UserError, NotFiniteError) as failure:
        error = str(failure)
    except Exception as failure:  # one bad point must not cost the others
        with (folder / OUTPUT).open("a") as output:
            traceback.print_exc(file=output)
        error = f"{type(failure).__name__}: {failure} ({folder / OUTPUT})"
    if error:
        trial.set_user_attr("error", error)
    queue.study.tell(trial, value, state)


def _metrics_of(plan: Plan, folder: Path) -> dict[str, float]:
    """Return the metrics of a run that had ended when its process was."""
    if plan.search == "folds" and not (folder / PREDICTIONS).exists():
        return {}
    cards = sorted(folder.glob("*/*/card.json"))
    return dict(read_card(cards[-1]).metrics) if cards else {}


def unfinished_run(folder: Path) -> Path | None:
    """Return the run below a trial's folder to go on with; what cannot go on is removed."""
    for run in folder.glob("*/version_*"):
        with contextlib.suppress(UserError):  # it was ended before its first checkpoint
            last_checkpoint(run)
            if not is_finished(run):
                return run
        shutil.rmtree(run)
    return None


def _train(plan: Plan, trial: optuna.Trial, point: Point, folder: Path) -> dict[str, float]:
    one_device = {"trainer.default_root_dir": str(folder), "trainer.devices": 1}
    settings: dict[str, Any] = {**point, **one_device}
    if not plan.tests:
        settings["trainer.limit_test_batches"] = 0
    with (folder / OUTPUT).open("a", buffering=1) as output, _redirected(output):
        training = Training(*plan.prepare(settings), resume=unfinished_run(folder))
        training.announce()
        if plan.prune:
            training.trainer.callbacks.append(Prune(trial, plan.metric))  # type: ignore[attr-defined]
        try:
            run = training.fit()
        except SystemExit:  # Lightning has taken the Ctrl-C, and saved
            raise KeyboardInterrupt from None
        print(f"\n{run}")
        if plan.search == "folds":
            write_predictions(run, training.trainer, int(point["data.fold"]), folder / PREDICTIONS)
    trial.set_user_attr("seconds", round(run.seconds, 1))
    return dict(run.card.metrics) if run.card else run.metrics


@contextlib.contextmanager
def _redirected(file: Any) -> Iterator[None]:
    with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        yield


# Before so much of a training is over, chance decides which trial is the better one.
PRUNED_FROM = 1 / 3


class Prune(Callback):
    """End a trial that is worse than the median of the others at the same validation.

    Not in the first third of its training, where it tells nothing.
    """

    def __init__(self, trial: optuna.Trial, metric: str) -> None:
        self.trial, self.metric = trial, metric

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the metric; raise TrialPruned if the trial is hopeless."""
        value = trainer.callback_metrics.get(self.metric)
        # A finished training measures its training examples by a validation, too.
        if value is None or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self.trial.report(float(value), trainer.global_step)
        if _share_done(trainer) >= PRUNED_FROM and self.trial.should_prune():
            raise optuna.TrialPruned


def _share_done(trainer: Trainer) -> float:
    """Return how much of a training is over; all of it where no end was set."""
    epochs, steps = trainer.max_epochs or 0, trainer.max_steps
    shares = [(trainer.current_epoch + 1) / epochs] if epochs > 0 else []
    return max([*shares, *([trainer.global_step / steps] if steps > 0 else [])], default=1.0)


# Several processes


def work_in_processes(plan: Plan, jobs: int, watch: Callable[[TrialQueue], None]) -> None:
    """Let processes work on a sweep, and put another in the place of one that ends before.

    Args:
        plan: The sweep.
        jobs: How many processes.
        watch: Called now and then with the queue.

    Raises:
        UserError: If processes end without beginning a trial.
        KeyboardInterrupt: On Ctrl-C, after all processes have saved and ended.
    """
    queue = plan.queue()
    context = multiprocessing.get_context("spawn")
    workers: list[Any] = [None] * jobs
    handler = signal.signal(signal.SIGTERM, _interrupt)
    started = idle_deaths = 0
    try:
        while not queue.is_finished:
            for i, worker in enumerate(workers):
                if worker is not None and worker.is_alive():
                    continue
                if worker is not None and worker.exitcode > 0:  # of its own, not by a signal
                    now = sum(trial.user_attrs.get("starts", 0) for trial in queue.trials())
                    idle_deaths = idle_deaths + 1 if now == started else 0
                    started = now
                    if idle_deaths > 2 * jobs:
                        raise UserError(
                            f"The sweep's processes end with status {worker.exitcode} before they "
                            "begin a trial; --jobs 1 shows why."
                        )
                workers[i] = context.Process(target=_worker, args=(plan, i, jobs))
                workers[i].start()
            watch(queue)
            time.sleep(POLL_SECONDS)
        watch(queue)
        for worker in filter(None, workers):
            worker.join(timeout=30)
    finally:
        signal.signal(signal.SIGTERM, handler)
        _end(workers)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _end(workers: Sequence[Any]) -> None:
    """Let workers save and end; a Ctrl-C in a terminal has reached them already."""
    alive = [worker for worker in workers if worker is not None and worker.is_alive()]
    for worker in alive:
        worker.terminate()
    for worker in alive:
        worker.join(timeout=60)
        if worker.is_alive():
            worker.kill()


def _worker(plan: Plan, index: int, jobs: int) -> None:
    quiet()
    signal.signal(signal.SIGTERM, _interrupt)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    if torch.cuda.device_count() > 1:  # counted without starting CUDA in this process
        os.environ["CUDA_VISIBLE_DEVICES"] = str(index % torch.cuda.device_count())
    try:
        work(plan)
    except KeyboardInterrupt:
        sys.exit(130)


# What came of it


def best_first(plan: Plan, trials: Sequence[Any]) -> list[Any]:
    """Return the trials that have a value, the best first; of equals the one of least loss."""
    sign = -1 if plan.mode == "max" else 1

    def key(trial: Any) -> tuple[float, float, int]:
        loss = trial.user_attrs.get("metrics", {}).get("loss/val", 0.0)
        return sign * trial.value, loss, trial.number

    complete = optuna.trial.TrialState.COMPLETE
    return sorted((trial for trial in trials if trial.state == complete), key=key)


def point_of(plan: Plan, trial: Any) -> Point:
    """Return the settings of a trial, as on the command line."""
    return {
        r.name: value if r.kind == "choice" else repr(value)
        for r in plan.ranges
        if (value := trial.params.get(r.name)) is not None
    }


def test_chosen(plan: Plan, queue: TrialQueue, trial: Any) -> dict[str, float]:
    """Return the test metrics of the chosen trial, which are measured once."""
    with queue.locked():
        kept = queue.study.user_attrs.get("test", {})
        if str(trial.number) not in kept:
            (weights, *_) = sorted(plan.trial_folder(trial.number).glob(f"*/*/{WEIGHTS}"))[::-1]
            settings, data, _ = plan.prepare(dict(point_of(plan, trial)))
            with trusting([settings.recipe.model["class_path"]]):
                found = measure(weights, data=data or settings.make_data())
            kept = {**kept, str(trial.number): found}
            queue.study.set_user_attr("test", kept)
        return kept[str(trial.number)]
