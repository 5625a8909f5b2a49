"""The sections `train`, `evaluate` and `start` of `benchmark.py`: how fast the zoo is."""

import os
import statistics
import sys
from dataclasses import replace
from functools import partial
from operator import sub
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

import contestants
import other_libraries
from measuring import Options, Report, milliseconds, run
from zoo.cli import fit
from zoo.errors import unknown
from zoo.module import ZooModule
from zoo.running.training import Training

FASHION = "fashion_ffnn"


def measure_train(options: Options) -> Report:
    """Train every case by every contestant in turn, as often as asked for.

    Every ratio is of two trainings one after the other; what stands there is the median, and the
    lowest and the highest. Processor time is what to look at where others use the machine too.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # or processor time would count the waiting of each thread
    rows, values = [], {}
    for case in chosen_cases(options):
        told = replace(options, epochs=options.epochs or case.epochs)
        by_name, missing = dict(contestants.CONTESTANTS), []
        if case.recipe == FASHION:
            others, missing = other_libraries.installed()
            by_name |= others
        if missing:
            print(f"  not installed, left out: {', '.join(missing)}", file=sys.stderr)
        runs = {(name, "32-true"): train for name, train in by_name.items()}
        if contestants.BF16 in case.precisions:
            runs |= {(name, contestants.BF16): by_name[name] for name in ("tight", "zoo")}
        clocks: dict[tuple[str, str], list[contestants.Clock]] = {run: [] for run in runs}
        for repeat in range(options.repeats):
            for (name, precision), train in runs.items():
                torch.manual_seed(repeat)
                clocks[name, precision].append(train(case, told, precision))
                print(f"  {case.recipe} {name} {precision}", file=sys.stderr, flush=True)
        for (name, precision), measured in clocks.items():
            row = [case.recipe, name if precision == "32-true" else f"{name}, {precision}"]
            row.append(f"{statistics.median(c.wall for c in measured) / told.epochs:.3g}")
            for reference in ("tight", "documented", "stock"):
                row.append(_ratio(measured, clocks[reference, "32-true"], "processor"))
            row.append(_ratio(measured, clocks["tight", "32-true"], "wall"))
            rows.append(row)
            values[f"{case.recipe} {name} {precision}"] = {
                "epochs": told.epochs,
                "wall": [c.wall for c in measured],
                "processor": [c.processor for c in measured],
            }
    torch.set_num_threads(threads)
    header = ["case", "contestant", "s per epoch", "/ tight", "/ documented", "/ stock"]
    return Report(
        title=f"processor time of the training epochs, one thread, {options.repeats} times in "
        "turn; in brackets the lowest and the highest ratio; all against fp32",
        header=[*header, "wall / tight"],
        rows=rows,
        values=values,
    )


def chosen_cases(options: Options) -> list[contestants.Case]:
    """Return the cases that were asked for, all if none was named."""
    for name in options.cases:
        if name not in contestants.CASES:
            raise unknown("case", name, contestants.CASES)
    return [contestants.CASES[name] for name in options.cases or contestants.CASES]


def _ratio(measured: list[contestants.Clock], reference: list[contestants.Clock], kind: str) -> str:
    ours, theirs = ([getattr(clock, kind) for clock in clocks] for clocks in (measured, reference))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def measure_evaluate(options: Options) -> Report:
    """Evaluate and predict 10,000 images with a trainer at hand, beside a bare forward."""
    rows, values = [], {}
    for case in chosen_cases(options):
        if case.batch_size < 64:  # no images
            continue
        changes = {"trainer.fast_dev_run": True}
        training = Training(contestants.zoo_settings(case, options, **changes))
        model, data, x = training.model, training.data, training.data.splits["test"][0]
        trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
        calls = {
            "bare forward": partial(forward_all, model, x),
            "trainer.test, all metrics": partial(trainer.test, model, data, verbose=False),
            "trainer.predict": partial(trainer.predict, model, data),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        with contestants.silently():
            for _ in range(options.repeats):
                for name, call in calls.items():
                    times[name].append(milliseconds(call))
        medians = [statistics.median(times[name]) for name in calls]
        rows.append([case.recipe, *(f"{ms:.0f}" for ms in medians)])
        values[case.recipe] = times
    return Report(
        title=f"milliseconds for the {len(x):,} test images",
        header=["case", *calls],
        rows=rows,
        values=values,
    )


@torch.inference_mode()
def forward_all(model: nn.Module, x: Tensor) -> None:
    """Give all images to a network, 1,024 at a time."""
    model.eval()
    for batch in x.split(1024):
        model(batch)


def measure_start(options: Options) -> Report:
    """Time a process from its start to the first step of `fit`, beside one that only imports."""
    imports = ["-c", "import torch, lightning.pytorch"]
    ways = {"import torch, lightning": imports}
    for name in ("xor_mlp", FASHION):
        script = str(Path(__file__).resolve())
        ways[f"fit {name}, to the first step"] = [script, name]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with TemporaryDirectory() as folder:
        for _ in range(options.repeats):
            for way, argv in ways.items():
                seconds[way].append(run(argv, cwd=folder)[0])
    bare = seconds["import torch, lightning"]
    rows = [
        [way, f"{statistics.median(s):.2f}", f"{statistics.median(map(sub, s, bare)):+.2f}"]
        for way, s in seconds.items()
    ]
    return Report(
        title=f"seconds from the start of the process, median of {options.repeats}",
        header=["process", "seconds", "beyond the imports"],
        rows=rows,
        values=seconds,
    )


def fit_to_first_step(name: str) -> None:
    """Run fit in this process until its first step begins."""
    ZooModule.training_step = lambda *_: os._exit(0)
    fit.main(["--model", name])


if __name__ == "__main__":
    fit_to_first_step(sys.argv[1])
