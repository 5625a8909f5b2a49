"""Race to an accuracy: `python scripts/maintain/race.py [--seeds N]`.

Each seed trains each `.fast` recipe by `fit` in a process of its own, which also measures and saves
what it has trained; what counts is the time from the start of the process to its end. The mean of
the seeds' test accuracies must reach the mark; of seconds the board shows medians. In turn with
them runs a process that only imports torch and Lightning and, for the first seeds, the document's
loop: its training alone, with neither imports nor a test. Settings and
number of epochs of the recipes were chosen on validation data.
"""

import argparse
import json
import os
import platform
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import contestants
from measuring import Options, run
from zoo.cli import run_main
from zoo.console import quiet
from zoo.errors import UserError

FIT = Path(__file__).parents[1] / "fit.py"
IMPORTS = ["-c", "import torch, lightning.pytorch"]
#: The test accuracy that each recipe must reach; the document's for fashion_ffnn.
MARKS = {
    "fashion_ffnn.fast": 0.831,
    "fashion_ffnn.fast_88": 0.88,
    "mnist_net.fast": 0.98,
    "conv_net.fast": 0.99,
    "conv_net.fast_fashion": 0.91,
}
#: What has a loop in its document, and the epochs that this runs.
DOCUMENTED = {"fashion_ffnn.fast": ("fashion_ffnn", 10)}
HEADER = [
    *("recipe", "mark", "mean of the tests", "worst", "process s", "of it imports s"),
    *("document's loop s", "/ process", "/ process without imports"),
]


@dataclass
class Entry:
    """What was measured of a recipe: seconds of its processes, test accuracies by seed."""

    seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    documented: list[float] = field(default_factory=list)


def main(argv: list[str]) -> None:
    """Run the race and print its board; end with an error if a mark was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="trainings of each recipe")
    parser.add_argument("--recipes", nargs="+", default=list(MARKS), choices=MARKS)
    parser.add_argument("--beside", type=int, default=2, help="of these beside the document's loop")
    chosen = parser.parse_args(argv)
    if not 1 <= chosen.beside <= chosen.seeds:
        raise UserError("--seeds must be at least --beside, and --beside at least 1.")
    quiet()
    about = machine()  # the load is that before the race
    entries, imports = race(chosen.recipes, chosen.seeds, chosen.beside)
    command = " ".join(["python scripts/maintain/race.py", *argv])
    fitted = "`fit --inspect none --trainer.precision auto`"
    print(f"`{command}`: {about}; {fitted}, seeds 0 to {chosen.seeds - 1}\n")
    print(board(entries, imports))
    means = {name: statistics.fmean(entry.scores) for name, entry in entries.items()}
    missed = [name for name, mean in means.items() if mean < MARKS[name]]
    if missed:
        raise UserError(f"The mean of the test accuracies misses the mark: {', '.join(missed)}.")


def race(names: list[str], seeds: int, beside: int) -> tuple[dict[str, Entry], list[float]]:
    """Return what was measured of each recipe, and the seconds of the imports."""
    entries: dict[str, Entry] = {name: Entry() for name in names}
    imports = []
    for seed in range(seeds):
        imports.append(run(IMPORTS)[0])
        for name, entry in entries.items():
            seconds, score = fit(name, seed)
            entry.seconds.append(seconds)
            entry.scores.append(score)
            if seed < beside and name in DOCUMENTED:
                entry.documented.append(train_as_documented(*DOCUMENTED[name], seed))
            print(f"  {name} {seed}  {seconds:.1f} s  {score:.4f}", file=sys.stderr, flush=True)
    return entries, imports


def fit(name: str, seed: int, *options: str) -> tuple[float, float]:
    """Train in a process of its own; return its seconds and the test accuracy that it reached.

    Drawn images are no race: data are the published ones unless an option says otherwise.
    """
    with TemporaryDirectory() as folder:
        argv = [str(FIT), "--model", name, "--seed", str(seed), "--inspect", "none"]
        argv += ["--trainer.precision", "auto", "--data.source", "real"]
        argv += ["--trainer.default_root_dir", folder, *options]
        seconds, _ = run(argv)
        (card,) = Path(folder).rglob("card.json")
        return seconds, json.loads(card.read_text("utf-8"))["metrics"]["accuracy/test"]


def train_as_documented(case: str, epochs: int, seed: int) -> float:
    """Return the seconds of the document's loop: neither imports nor a test are in it."""
    torch.manual_seed(seed)
    options = Options(source="real", epochs=epochs)
    return contestants.documented(contestants.CASES[case], options, "32-true").wall


def board(entries: dict[str, Entry], imports: list[float]) -> str:
    """Return the board in Markdown, its columns lined up."""
    rows = [HEADER, ["---"] * len(HEADER)]
    for name, entry in entries.items():
        row = [name, f"{MARKS[name]:.1%}"]
        row += [f"{statistics.fmean(entry.scores):.2%}", f"{min(entry.scores):.2%}"]
        whole, imported = statistics.median(entry.seconds), statistics.median(imports)
        row += [f"{whole:.1f}", f"{imported:.1f}"]
        if entry.documented:
            theirs = statistics.median(entry.documented)
            # Of medians: the difference of one pair drowns in noise where others use the machine.
            row += [f"{x:.1f}" for x in (theirs, theirs / whole, theirs / (whole - imported))]
        rows.append(row + [""] * (len(HEADER) - len(row)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows[1] = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    return "\n".join(
        f"| {first.ljust(widths[0])} | "
        + " | ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        + " |"
        for first, *cells in rows
    )


def machine() -> str:
    """Return what the times depend on: processor, cores, threads, load, torch."""
    info = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    processor = names[0] if names else platform.processor() or platform.machine()
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return (
        f"{processor}, {os.cpu_count()} cores{load}, {torch.get_num_threads()} of torch's threads, "
        f"torch {torch.__version__}"
    )


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
