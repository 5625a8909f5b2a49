"""Fail, or kill, at the n-th write under the runs' folder, for every n until a training survives.

    python scripts/maintain/faults.py

As SQLite tests itself. `faults.c` stands below Python and every library, and counts what writes:
open, write, fsync, rename. For n = 1, 2, 3, ... a short training fails there once, or from there on
(a full disk), or is killed there. Each time it must end with one sentence or none, the older runs
must be as they were, and the run must be finished, or go on to the weights of a training without
faults, or say what it lacks. A second round begins with a run that was stopped: that must go on.

Trainings are forked from one process that has imported everything. Linux and a C compiler only.
"""

import argparse
import ctypes
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from forking import forked

HERE = Path(__file__).parent
FAIL_ONCE, FAIL_FROM_THERE, KILL = 1, 2, 3
MODES = {"fails once": FAIL_ONCE, "fails from there on": FAIL_FROM_THERE, "is killed": KILL}
# Two epochs of 5 updates; a checkpoint after every fourth and at the end of each epoch.
FIT = (
    *("fit", "--model", "xor_mlp", "--trainer.max_epochs", "2", "--trainer.limit_train_batches"),
    *("5", "--checkpoint_every", "4", "--inspect", "basic,-graph", "--name", "run"),
)
RUN = Path("runs/xor_mlp/run")
NOTHING_YET = ("is no folder of a run", "There is nothing to go on from", "has finished")


def main(argv: list[str]) -> None:
    """Count, and fail if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stride", type=int, default=1, help="try every so manieth n only")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--stopped", action="store_true", help="the second round only")
    chosen = parser.parse_args(argv)
    if "LD_PRELOAD" not in os.environ:
        sys.exit(_again_with_faults(argv))
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        wrong = check(Path(name), chosen.first, chosen.stride, chosen.stopped)
    sys.exit(bool(wrong))


def _again_with_faults(argv: list[str]) -> int:
    """Compile the faults, and start this script below them."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "faults.so"
        compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), "cc")
        command = [compiler, "-O1", "-shared", "-fPIC", "-o", library, HERE / "faults.c", "-ldl"]
        subprocess.run(command, check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, __file__, *argv], env=environment).returncode


def check(root: Path, first: int, stride: int, only_stopped: bool) -> int:
    """Go through all n of all modes, from nothing and from a run that was stopped.

    Returns:
        How many went wrong.
    """
    import zoo.callbacks.tensorboard.events
    import zoo.cli.fit
    import zoo.evaluation
    import zoo.running.training  # noqa: F401

    _run(FIT, root, 0, 0)
    whole = _weights()
    assert whole is not None
    Path("runs/xor_mlp/run").rename("runs/xor_mlp/older")
    before = _contents(Path("runs/xor_mlp/older"))
    shutil.copytree("runs", "runs_before")
    # Killed at its last checkpoint but one.
    for n in range(1, 10_000):
        _restore("runs_before")
        _run(FIT, root, n, KILL)
        if len(list((RUN / "checkpoints").glob("[lp]*.ckpt"))) == 2:
            break
    shutil.copytree("runs", "runs_stopped")
    wrong = 0
    resume = ("fit", "--resume", str(RUN))
    rounds = (("runs_before", FIT), ("runs_stopped", resume))
    for begun, argv in rounds[only_stopped:]:
        for title, mode in MODES.items():
            started, tried, here, resumable = time.monotonic(), 0, 0, begun == "runs_stopped"
            for n in range(first, 100_000, stride):
                _restore(begun)
                status, out, survived = _run(argv, root, n, mode)
                problem = _problem_of_end(status, out, mode)
                if not problem and _contents(Path("runs/xor_mlp/older")) != before:
                    problem = "an older run was changed"
                if not problem:
                    problem, went_on = _problem_of_going_on(root, whole, status)
                    if not problem and resumable and not went_on:
                        problem = "what could be gone on from was lost"
                    # A later fault that ends a run comes after more was written.
                    resumable |= went_on and status != 0
                tried += 1
                if problem:
                    here += 1
                    print(f"  n = {n}, {title}: {problem}", flush=True)
                if survived:
                    break
            wrong += here
            what = "a run that goes on" if begun == "runs_stopped" else "a run from the beginning"
            seconds = time.monotonic() - started
            print(f"{what} {title}: {tried - here} of {tried} ({seconds:.0f} s)", flush=True)
    return wrong


def _restore(begun: str) -> None:
    shutil.rmtree("runs", ignore_errors=True)
    shutil.copytree(begun, "runs")


def _problem_of_end(status: int, out: str, mode: int) -> str:
    if "Traceback" in out or "Exception ignored" in out:
        return f"a traceback: {out[-600:]}"
    if status not in ((0, 2, -9) if mode == KILL else (0, 2)):
        return f"status {status}: {out[-300:]}"
    if status == 2 and out.count("error: ") != 1:
        return f"not one error: {out[-300:]}"
    return ""


def _problem_of_going_on(root: Path, whole: str, status: int) -> tuple[str, bool]:
    """Go on without faults; return what was wrong, and whether the run came to its end."""
    if status == 0:
        return ("" if _weights() == whole else "finished with other weights"), True
    status, out, _ = _run(("fit", "--resume", str(RUN)), root, 0, 0)
    if "Traceback" in out:
        return f"going on: {out[-600:]}", False
    if status == 0:
        return ("" if _weights() == whole else "goes on to other weights"), True
    if any(words in out for words in NOTHING_YET):
        return "", "has finished" in out
    return f"does not go on: {out[-300:]}", False


def _run(argv: tuple[str, ...], root: Path, n: int, mode: int) -> tuple[int, str, bool]:
    """Run a command in a process of its own.

    Returns:
        Its status (-9: killed), what it printed, and whether it wrote less than n times.
    """
    faults = ctypes.CDLL(None)

    def command() -> None:
        from zoo.cli import run_command

        if mode:
            faults.fault_arm(str(root / "runs").encode(), ctypes.c_long(n), mode, _error(n))
        try:
            run_command(*argv)
        finally:
            if mode and faults.fault_count() < n:
                Path(root / "survived").touch()

    (root / "survived").unlink(missing_ok=True)
    status, out = forked(command, root / "output")
    return status, out, (root / "survived").exists()


def _error(n: int) -> int:
    return errno.ENOSPC if n % 2 else errno.EIO


def _weights() -> str | None:
    file = RUN / "weights.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[1]))
    main(sys.argv[1:])
