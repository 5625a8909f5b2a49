"""How good and how fast networks on tables are: `python scripts/maintain/tabular.py compare|speed`.

`compare`: our strong default beside scikit-learn's models. Every table is split 70 / 15 / 15 with
five seeds. `tabular_mlp.tuned` trains on the first part and selects its weights on the second;
scikit-learn's models, at their defaults in the usual pipeline, train on both. All are measured on
the third. The published tables are looked up in $ZOO_DATA_DIR; three more are synthetic.
Needs scikit-learn, which nothing else here does.

`speed`: writes a CSV of 17 mixed columns, reads it, reads its cache, and compares an epoch of
batches out of the memory map with one out of memory.
"""

import argparse
import contextlib
import io
import resource
import sys
import tempfile
import threading
import time
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import zoo
from datamodules import Tabular, TensorBatches
from datamodules.tabular import rows as mapped_rows
from zoo import UserError
from zoo.cli import run_main
from zoo.console import quiet

PUBLISHED = {
    "water_potability.csv": {"target": "Potability"},
    "titanic.csv": {"target": "survived", "drop": ["alive"]},
    "iris.csv": {"target": "species"},
}


def main(argv: list[str]) -> None:
    """Run `compare` or `speed`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("compare").add_argument("--seeds", type=int, default=5)
    commands.add_parser("speed").add_argument("--rows", type=int, default=1_600_000)
    chosen = parser.parse_args(argv)
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        if chosen.command == "compare":
            print_comparison(chosen.seeds, Path(folder))
        else:
            print_speed(chosen.rows, Path(folder))


def friedman(rows: int = 2_000) -> pd.DataFrame:
    """Make the first regression of Friedman (1991): five of ten numbers matter."""
    rng = np.random.default_rng(1)
    x = rng.random((rows, 10))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    y += 10 * x[:, 3] + 5 * x[:, 4] + rng.normal(size=rows)
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(10)]).assign(target=y)


def prices(rows: int = 3_000) -> pd.DataFrame:
    """Make house prices out of numbers with gaps, a boolean and thirty quarters."""
    rng = np.random.default_rng(2)
    area, year = np.exp(rng.normal(4.5, 0.4, rows)), rng.integers(1900, 2024, rows)
    quarter, distance = rng.integers(0, 30, rows), rng.gamma(2, 3, rows)
    garage = rng.random(rows) < 0.4
    log_price = 11 + 0.8 * np.log(area / 90) + rng.normal(0, 0.35, 30)[quarter] - 0.04 * distance
    log_price += 0.15 * garage + 0.003 * (year - 1960) * (year > 1960) + rng.normal(0, 0.12, rows)
    table = pd.DataFrame({"area": area.round(1), "year": year.astype(float)})
    table["quarter"] = [f"quarter {i:02d}" for i in quarter]
    table["distance"], table["garage"] = distance.round(2), np.where(garage, "yes", "no")
    table.loc[rng.random(rows) < 0.1, "year"] = np.nan
    return table.assign(target=np.exp(log_price).round())


def incomes(rows: int = 4_000) -> pd.DataFrame:
    """Make a small census: is an income high?"""
    rng = np.random.default_rng(4)
    age, hours = rng.integers(17, 90, rows), rng.normal(40, 12, rows).clip(1, 99).round()
    gain = np.where(rng.random(rows) < 0.08, np.exp(rng.normal(8, 1, rows)), 0).round()
    degree, job = rng.choice(5, rows, p=[0.4, 0.25, 0.2, 0.1, 0.05]), rng.integers(0, 14, rows)
    married = rng.random(rows) < 0.4
    score = np.array([-1, 0, 1, 1.6, 2.2])[degree] + rng.normal(0, 0.8, 14)[job] + 1.6 * married
    score += 0.04 * (hours - 40) - 0.0022 * (age - 48) ** 2 + 3 * (gain > 5000) - 2.5
    degrees = np.array(["school", "college", "bachelor", "master", "doctor"])
    table = pd.DataFrame({"age": age, "hours": hours, "gain": gain, "degree": degrees[degree]})
    table["job"], table["married"] = [f"job {i}" for i in job], married
    return table.assign(target=np.where(score + rng.logistic(size=rows) > 0, "high", "low"))


def ours(data: Tabular, seed: int, folder: Path) -> tuple[float, ...]:
    """Train the recipe and return its test metrics."""
    with contextlib.redirect_stdout(io.StringIO()):
        run = zoo.fit("tabular_mlp.tuned", data, seed=seed, inspect="none", default_root_dir=folder)
    if data.task == "regression":
        return (run.metrics["r2/test"],)
    return run.metrics["accuracy/test"], run.metrics["auroc/test"]


def theirs(frame: pd.DataFrame, y: pd.Series, fitted: np.ndarray, test: np.ndarray, seed: int):
    """Train scikit-learn's perceptron and boosted trees and return their test metrics."""
    from sklearn.compose import (
        TransformedTargetRegressor,
        make_column_selector,
        make_column_transformer,
    )
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    regression = y.dtype.kind == "f"
    is_number = make_column_selector(dtype_include=["number", "bool"])
    is_text = make_column_selector(dtype_exclude=["number", "bool"])
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
    )
    perceptron = MLPRegressor if regression else MLPClassifier
    network = make_pipeline(
        make_column_transformer((numbers, is_number), (words, is_text)),
        perceptron(random_state=seed, max_iter=500),
    )
    if regression:
        network = TransformedTargetRegressor(network, transformer=StandardScaler())
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    boosting = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    texts = list(range(len(is_text(frame))))
    trees = make_pipeline(
        make_column_transformer((codes, is_text), remainder="passthrough"),
        boosting(random_state=seed, categorical_features=texts or None),
    )
    results = {}
    for name, model in {"MLP": network, "HistGradientBoosting": trees}.items():
        model.fit(frame.iloc[fitted], y.iloc[fitted])
        predicted = model.predict(frame.iloc[test])
        if regression:
            results[name] = (r2_score(y.iloc[test], predicted),)
            continue
        chances = model.predict_proba(frame.iloc[test])
        chances = chances[:, 1] if chances.shape[1] == 2 else chances
        auroc = roc_auc_score(y.iloc[test], chances, multi_class="ovr")
        results[name] = (accuracy_score(y.iloc[test], predicted), auroc)
    return results


def compare(path: str, options: dict, seeds: int, folder: Path) -> dict[str, list[tuple]]:
    """Return the metrics of every seed by method."""
    found: dict[str, list[tuple]] = {}
    for seed in range(seeds):
        data = Tabular(path, **options, seed=seed, source="real", cache="no", batch_size="auto")
        data.setup()
        frame = pd.read_csv(data.files[0]).drop(columns=options.get("drop", []))
        y = frame.pop(options["target"])
        fitted = np.concatenate([data.rows["train"], data.rows["val"]])
        results = {"tabular_mlp.tuned": ours(data, seed, folder)}
        results |= theirs(frame, y, fitted, data.rows["test"], seed)
        for name, values in results.items():
            found.setdefault(name, []).append(values)
    return found


def print_comparison(seeds: int, folder: Path) -> None:
    """Print mean and standard deviation over the seeds, for each table and method."""
    if find_spec("sklearn") is None:
        raise UserError("The comparison needs scikit-learn: pip install scikit-learn")
    warnings.filterwarnings("ignore")
    tables = dict(PUBLISHED)
    for make in (friedman, prices, incomes):
        path = folder / f"{make.__name__}.csv"
        make().to_csv(path, index=False)
        tables[str(path)] = {"target": "target"}
    for path, options in tables.items():
        print(Path(path).name)
        for name, values in compare(path, options, seeds, folder).items():
            metrics = ("R2",) if len(values[0]) == 1 else ("accuracy", "AUROC")
            columns = zip(metrics, np.mean(values, 0), np.std(values, 0, ddof=1), strict=True)
            shown = "  ".join(f"{m} {mean:.4f} ± {sd:.4f}" for m, mean, sd in columns)
            print(f"  {name:20}  {shown}", flush=True)


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


def print_speed(rows: int, folder: Path) -> None:
    """Measure reading, the cache and the batches of a table, and print seconds and memory."""
    path, block_rows = folder / "table.csv", min(rows, 200_000)
    mixed_table(block_rows).to_csv(path, index=False)
    block = path.read_bytes().partition(b"\n")[2]
    with path.open("ab") as file:
        for _ in range(rows // block_rows - 1):
            file.write(block)
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


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
