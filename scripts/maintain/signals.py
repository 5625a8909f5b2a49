"""Send signals to trainings on one and on two processes, at random moments, and count.

    python scripts/maintain/signals.py --times 20 --processes 2

A training that is stopped must end with the signal's status within the time allowed, leave no
process behind and a checkpoint that `--resume` goes on from, to the weights of a training that was
not stopped. Every second one gets the signal twice. With `--undisturbed` none gets a signal: each
must end by itself with status 0, leave no process behind and have the weights of the first.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from zoo.cli import run_main
from zoo.signals import STOPPING

FIT = Path(__file__).parents[1] / "fit.py"
RUN = (
    *("--model", "fashion_ffnn", "--data.source", "synthetic", "--model.hidden_dim", "8"),
    *("--trainer.max_epochs", "4", "--inspect", "none", "--trainer.accelerator", "cpu"),
    *("--trainer.val_check_interval", "40", "--trainer.logger", "false"),
)
ALLOWED = 60.0  # seconds from the signal to the end; ten times that to end undisturbed


def main(argv: list[str]) -> None:
    """Count, and fail if one training was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--undisturbed", action="store_true")
    chosen = parser.parse_args(argv)
    for number in STOPPING:  # a shell lets what it starts in the background ignore some
        signal.signal(number, signal.default_int_handler)
    rng = random.Random(chosen.seed)
    several = ("--trainer.devices", str(chosen.processes))
    if chosen.processes > 1:
        several += ("--trainer.strategy", "ddp", "--trainer.limit_train_batches", "80")
    good = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        start(root / "whole", *RUN, *several).wait()
        expected = weights_of(root / "whole")
        for n in range(chosen.times):
            folder, number = root / str(n), 0
            if not chosen.undisturbed:
                number = getattr(signal, ("SIGINT", "SIGTERM", "SIGHUP")[n % 3], signal.SIGTERM)
            outcome = stop(folder, (*RUN, *several), number, rng, twice=n % 2 == 1)
            if number and not outcome:
                left = start(folder, *RUN[:2], "--resume", "--inspect", "none")
                outcome = "does not go on" if left.wait() else ""
            if not outcome and weights_of(folder) != expected:
                outcome = "ends with other weights"
            good += not outcome
            sent = signal.Signals(number).name if number else "nothing"
            print(f"{n + 1:3} {sent:8} {outcome or 'as expected'}", flush=True)
    print(f"{good} of {chosen.times} on {chosen.processes} process(es)")
    sys.exit(good < chosen.times)


def start(folder: Path, *argv: str) -> subprocess.Popen[str]:
    """Start a training whose runs are in a folder, in a session of its own."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, str(FIT), *argv],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(FIT.parents[1])},
        stdout=subprocess.PIPE,
        stderr=(folder / "errors.txt").open("w"),
        text=True,
        start_new_session=True,
    )


def stop(folder: Path, argv: tuple[str, ...], number: int, rng: random.Random, twice: bool) -> str:
    """Stop a training in its second epoch or later, or let it end; return what went wrong."""
    process = start(folder, *argv)
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            break
    if number:
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(number)
        if twice:
            time.sleep(rng.uniform(0, 0.2))
            process.send_signal(number)
    try:
        process.communicate(timeout=ALLOWED if number else 10 * ALLOWED)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return "hangs"
    if process.returncode != (128 + number if number else 0):
        return f"status {process.returncode}: {(folder / 'errors.txt').read_text()[-300:]}"
    return "" if list(folder.rglob("last.ckpt")) else "no checkpoint"


def weights_of(folder: Path) -> str:
    """Return the sha256 of the weights of the only run in a folder."""
    (card,) = folder.rglob("card.json")
    return json.loads(card.read_text())["sha256"]


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
