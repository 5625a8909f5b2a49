"""Change good input somewhere, again and again: it works, or there is one clear error.

    python scripts/maintain/fuzz.py --count 10000 --trainings 1000

Everything that ends otherwise is a bug: an exception that is no UserError, more than 10 seconds,
more than 1 GB above what the imports take. Cases run in forks of a process that has imported
everything, 500 in each; `--only KIND --seed N` repeats one, `--first N` begins with case N. Seconds
are of the processor, but for what waits for ever: other programs may be running.
"""

import argparse
import collections
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random

from forking import forked
from targets import Target, targets
from zoo.errors import UserError

# What commands import only when they need it: in every fork again, that took a third of the time.
PRELOADED = (
    *(f"zoo.cli.{command}" for command in ("fit", "models", "evaluate", "predict")),
    *("zoo.running.training", "zoo.evaluation", "zoo.callbacks.tensorboard.events"),
    *("datamodules.augment", "datamodules.fizzbuzz", "datamodules.text", "datamodules.vectors"),
)
SECONDS, MEMORY = 10, 2**30
CASES_PER_FORK = 500


def main(argv: list[str]) -> None:
    """Fuzz all kinds and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--trainings", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0, help="where the cases begin")
    parser.add_argument("--only", help="one kind")
    parser.add_argument("--seed", type=int, help="one case")
    chosen = parser.parse_args(argv)
    for module in PRELOADED:
        importlib.import_module(module)
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        os.environ["XDG_CACHE_HOME"] = name
        for kind, make in targets(Path(name)).items():
            if chosen.only not in (None, kind):
                continue
            target = make()
            if chosen.seed is not None:
                target(Random(chosen.seed))
                continue
            count = chosen.trainings if kind == "trainings" else chosen.count
            failed += fuzz(kind, target, range(chosen.first, chosen.first + count), Path(name))
    sys.exit(failed > 0)


def fuzz(kind: str, target: Target, cases: range, folder: Path) -> int:
    """Run these cases of a kind; print what went wrong, and return how often."""
    started, next_case = time.monotonic(), cases.start
    ends: collections.Counter[str] = collections.Counter()
    seen: set[str] = set()
    log = folder / "log"
    while next_case < cases.stop:
        last = min(cases.stop, next_case + CASES_PER_FORK)
        log.unlink(missing_ok=True)
        status, out = forked(
            lambda first=next_case, last=last: _cases(target, first, last, log),
            folder / "output",
            limit=SECONDS * CASES_PER_FORK,
        )
        for line in log.read_text().splitlines():
            case, end, text = json.loads(line)
            next_case = case + 1
            ends[end] += 1
            if end not in ("works", "one error") and text.splitlines()[-1][:60] not in seen:
                seen.add(text.splitlines()[-1][:60])
                print(f"--- {kind}, --seed {case}: {end}\n{text[-1500:]}", flush=True)
        if status != 0:  # it died in the case after the last that is told
            print(f"--- {kind}, --seed {next_case}: status {status}\n{out[-800:]}", flush=True)
            ends["dies"] += 1
            next_case += 1
    told = ", ".join(f"{number:,} {end}" for end, number in ends.most_common())
    print(f"{kind}: {len(cases):,}: {told} ({time.monotonic() - started:.0f} s)", flush=True)
    return len(cases) - ends["works"] - ends["one error"]


def _cases(target: Target, first: int, last: int, log: Path) -> None:
    """Run cases, and write how each ended."""
    warnings.simplefilter("ignore")
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, _hangs)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with log.open("a") as file:
        for case in range(first, last):
            end, text = "works", ""
            signal.setitimer(signal.ITIMER_PROF, 2 * SECONDS)
            signal.setitimer(signal.ITIMER_REAL, 60 * SECONDS)
            began = time.process_time()
            try:
                target(Random(case))
            except UserError:
                end = "one error"
            except Exception:
                end, text = "traceback", traceback.format_exc()
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            if time.process_time() - began > SECONDS:
                end, text = "hangs", f"{time.process_time() - began:.0f} s"
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if (peak - before) * 1024 > MEMORY:
                end, text = "takes memory", f"{(peak - before) / 2**20:.1f} GB"
                before = peak
            file.write(json.dumps([case, end, text]) + "\n")
            file.flush()


class _HangsError(BaseException):
    pass


def _hangs(*_: object) -> None:
    raise _HangsError


if __name__ == "__main__":
    main(sys.argv[1:])
