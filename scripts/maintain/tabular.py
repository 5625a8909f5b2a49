"""How fast tables are read, fed and learnt: `python scripts/maintain/tabular.py speed`.

`speed` writes a CSV of 17 mixed columns, reads it, reads its cache, and compares an epoch of
batches out of the memory map with one out of memory. `scale` trains `tabular_net` on a made census
of so many rows, and HistGradientBoosting after it. `processes` trains `tabular_mlp` for an epoch on
a mapped table by one process and by two, and shows whether they share it. How good networks on
tables are: `compare_tables.py`.
"""

import argparse
import contextlib
import io
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import zoo
from comparison_tables import friedman, incomes
from datamodules import Tabular, TensorBatches
from datamodules.tabular import rows as mapped_rows
from zoo.cli import run_main
from zoo.console import quiet

# Rss counts a page that two processes share twice, Pss once; Anonymous is what was copied.
KINDS = ("Rss", "Pss", "Anonymous")


def main(argv: list[str]) -> None:
    """Run `speed`, `scale` or `processes`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("speed").add_argument("--rows", type=int, default=1_600_000)
    commands.add_parser("scale").add_argument("--rows", type=int, default=10_000)
    commands.add_parser("processes").add_argument("--rows", type=int, default=100_000)
    chosen = parser.parse_args(argv)
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        print_of = {"speed": print_speed, "scale": print_scale, "processes": print_processes}
        print_of[chosen.command](chosen.rows, Path(folder))


def mixed_table(rows: int) -> pd.DataFrame:
    """Make 10 numeric columns, 4 categories, a boolean, a date and a target of two classes."""
    rng = np.random.default_rng(0)
    days = pd.date_range("2015-01-01", periods=3000).strftime("%Y-%m-%d").to_numpy()
    columns: dict[str, np.ndarray] = {
        **{f"measure_{i}": rng.normal(50, 12, rows).round(3) for i in range(5)},
        "count": rng.poisson(20, rows),
        "year": rng.integers(1990, 2024, rows),
        "age": rng.integers(18, 90, rows),
        "amount": np.exp(rng.normal(5, 1, rows)).round(2),
        "hours": rng.integers(1, 80, rows),
        "work": rng.choice(["private", "self-employed", "federal", "local", "state"], rows),
        "education": rng.choice(["bachelor", "school", "master", "doctor", "college"], rows),
        "country": rng.choice([f"country {i:02d}" for i in range(40)], rows),
        "sex": rng.choice(["female", "male"], rows),
        "active": rng.choice(["True", "False"], rows),
        "since": rng.choice(days, rows),
    }
    score = (columns["measure_0"] - 50) / 12 + (columns["education"] == "master")
    columns["label"] = np.where(score + rng.normal(size=rows) > 0.5, "yes", "no")
    table = pd.DataFrame(columns)
    table.loc[rng.random(rows) < 0.05, "measure_1"] = np.nan
    table.loc[rng.random(rows) < 0.03, "work"] = np.nan
    return table


class Memory(threading.Thread):
    """Watches how much memory this process holds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before = self.peak = self.now()
        self.start()

    @staticmethod
    def now() -> float:
        """Return the resident memory in MB."""
        statm = Path("/proc/self/statm").read_text().split()
        return int(statm[1]) * resource.getpagesize() / 1e6

    def run(self) -> None:
        """Look every 10 ms."""
        while True:
            self.peak = max(self.peak, self.now())
            time.sleep(0.01)


def epoch_seconds(batches: TensorBatches, repeats: int = 5) -> float:
    """Return the shortest time of several epochs."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        for _batch in batches:
            pass
        times.append(time.perf_counter() - started)
    return min(times)


def write_blocks(make: Callable[[int], pd.DataFrame], rows: int, path: Path) -> Path:
    """Write a CSV file of at most 200,000 different rows, over and over; return its path."""
    block_rows = min(rows, 200_000)
    make(block_rows).to_csv(path, index=False)
    block = path.read_bytes().partition(b"\n")[2]
    with path.open("ab") as file:
        for _ in range(rows // block_rows - 1):
            file.write(block)
    return path


def print_speed(rows: int, folder: Path) -> None:
    """Measure reading, the cache and the batches of a table, and print seconds and memory."""
    path = write_blocks(mixed_table, rows, folder / "table.csv")
    print(f"file                {path.stat().st_size / 1e6:.0f} MB")
    memory = Memory()
    for title in ("first reading", "from the cache"):
        started, busy = time.perf_counter(), time.process_time()
        data = Tabular(str(path), "label", cache="yes", cache_dir=str(folder))
        data.setup()
        busy = time.process_time() - busy
        print(f"{title:19} {time.perf_counter() - started:.2f} s ({busy:.2f} s of processor)")
    print(data.profile)
    mapped = data.train_dataloader()
    seconds = epoch_seconds(mapped)
    print(f"epoch from the map  {seconds:.3f} s, {len(mapped)} batches of {mapped.batch_size}")
    print(f"memory              {memory.peak - memory.before:.0f} MB more than the imports")
    mapped_rows.WINDOWED_FROM = 0
    windowed = epoch_seconds(mapped)
    x, y = data.splits["train"]
    in_memory = TensorBatches(x[torch.arange(len(x))], y, data.batch_size, shuffle=True)
    plain = epoch_seconds(in_memory)
    print(f"epoch in windows    {windowed:.3f} s")
    print(f"epoch from memory   {plain:.3f} s; the map costs {seconds / plain - 1:+.0%}")


def print_scale(rows: int, folder: Path) -> None:
    """Train on a made census, and print seconds, memory and the AUROC on test rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    path = folder / "incomes.csv"
    frame, target = incomes(rows)
    frame.to_csv(path, index=False)
    memory, began = Memory(), time.process_time()
    settings = {"data.path": str(path), "data.cache": "no"}
    with contextlib.redirect_stdout(io.StringIO()):
        run = zoo.fit(
            "tabular_net",
            target=target,
            inspect="none",
            settings=settings,
            default_root_dir=folder,
        )
    seconds = time.process_time() - began
    print(
        f"{rows:9,} rows  tabular_net           {seconds:7.1f} s  "
        f"{memory.peak - memory.before:6.0f} MB  AUROC {run.metrics['auroc/test']:.4f}  "
        f"{run.epochs} epochs"
    )
    split = run.datamodule.rows
    words = frame.select_dtypes("object").columns
    y, x = frame.pop(target) == "high", frame
    x = x.assign(**{name: x[name].astype("category") for name in words.drop(target)})
    fitted = np.concatenate([split["train"], split["val"]])
    began = time.process_time()
    trees = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    chances = trees.fit(x.iloc[fitted], y.iloc[fitted]).predict_proba(x.iloc[split["test"]])[:, 1]
    score = roc_auc_score(y.iloc[split["test"]], chances)
    seconds = time.process_time() - began
    print(f"{'':9}       HistGradientBoosting  {seconds:7.1f} s  {'':9}  AUROC {score:.4f}")


def print_processes(rows: int, folder: Path) -> None:
    """Train for an epoch by one process and by two, which read the same batches out of one map."""
    path = write_blocks(lambda count: friedman(count)[0].round(4), rows, folder / "table.csv")
    cache = {"cache": "yes", "cache_dir": str(folder / "cache")}
    Tabular(str(path), "target", **cache).setup()
    (numbers,) = (folder / "cache").rglob("rows*")
    print(f"{rows:,} rows, {numbers.stat().st_size / 1e6:.0f} MB of them mapped")
    argv = [sys.executable, str(Path(__file__).parents[1] / "fit.py"), "--model", "tabular_mlp"]
    argv += ["--data.path", str(path), "--data.target", "target", "--trainer.max_epochs", "1"]
    argv += [f"--data.{name}={value}" for name, value in cache.items()]
    argv += ["--inspect", "none", "--trainer.accelerator", "cpu"]
    for count in (1, 2):
        several = ["--data.batch_size", str(1024 // count), "--trainer.devices", str(count)]
        several += ["--trainer.strategy", "ddp"] if count > 1 else []
        began, busy, samples = time.perf_counter(), processor_seconds(), []
        with subprocess.Popen(
            argv + several, cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            while process.poll() is None:
                samples.append(held(process.pid, numbers))
                time.sleep(0.1)
            out = process.stdout.read()
        seconds, busy = time.perf_counter() - began, processor_seconds() - busy
        # Processes are read one after the other: what one maps meanwhile is in no other's share.
        of_map = max(samples, key=lambda m: (m["Rss of the map"], -m["Pss of the map"]))
        memory = max(sample["Pss"] for sample in samples)
        print(
            f"{count} process(es)  {seconds:.1f} s, of processors {busy:.1f}, of it training "
            f"{re.search('time +(.+? s)', out)[1]}  {memory:.0f} MB; of the map "
            + ", ".join(f"{name} {of_map[f'{name} of the map']:.0f}" for name in KINDS)
        )


def processor_seconds() -> float:
    """Return the processor time of processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def held(session: int, numbers: Path) -> dict[str, float]:
    """Return the MB that a session's processes hold now, and of them those of a mapped file."""
    found: Counter[str] = Counter()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if os.getsid(int(process.name)) != session:
                continue
            mapped = ""
            for line in (process / "smaps").read_text().splitlines():
                name, _, rest = line.partition(":")
                if "-" in name:
                    mapped = " of the map" if line.endswith(str(numbers)) else ""
                elif name in KINDS:
                    megabytes = int(rest.split()[0]) * 1024 / 1e6
                    found[name] += megabytes
                    if mapped:
                        found[name + mapped] += megabytes
    return found


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
