"""Our networks on tables beside boosted trees: `python scripts/maintain/compare_tables.py`.

Every table, of at most 10,000 rows, is split 70 / 15 / 15 by several seeds. Ours train on the first
part and take their weights by the second; the others, at their defaults, train on both; TabM, which
stops early too, trains as ours do. All are measured on the third, on one thread. Results are kept
as JSON: what is there is not measured again.

The published tables are looked up in $ZOO_DATA_DIR; the rest come with scikit-learn or are made.
Needs the extra `compare`: pip install 'lightning-zoo[compare]'.
"""

import argparse
import contextlib
import importlib
import io
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import comparison_tables
import zoo
from datamodules import Tabular
from datamodules.files import atomic_write
from zoo.cli import run_main
from zoo.console import quiet
from zoo.extras import require_extra
from zoo.preprocessing.tables import TablePreprocessing

OURS = ("tabular_net", "tabular_ensemble", "tabular_mlp.tuned")
#: Where each of the others comes from.
LIBRARIES = {
    "HistGradientBoosting": "sklearn.ensemble",
    "CatBoost": "catboost",
    "LightGBM": "lightgbm",
    "XGBoost": "xgboost",
    "MLP": "sklearn.neural_network",
    "linear": "sklearn.linear_model",
}
METHODS = (*OURS, *LIBRARIES, "TabM")
PACKAGES = {**{name: path.partition(".")[0] for name, path in LIBRARIES.items()}, "TabM": "tabm"}
SHOWN = {"accuracy": "accuracy", "auroc": "AUROC", "log_loss": "log loss", "r2": "R2"}
CLASSES = {
    "HistGradientBoosting": ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
    "CatBoost": ("CatBoostClassifier", "CatBoostRegressor"),
    "LightGBM": ("LGBMClassifier", "LGBMRegressor"),
    "XGBoost": ("XGBClassifier", "XGBRegressor"),
    "MLP": ("MLPClassifier", "MLPRegressor"),
    "linear": ("LogisticRegression", "Ridge"),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "CatBoost": {"verbose": False, "allow_writing_files": False, "thread_count": 1},
    "LightGBM": {"verbose": -1, "n_jobs": 1},
    "XGBoost": {"enable_categorical": True, "n_jobs": 1},
    "MLP": {"max_iter": 500},
}


def main(argv: list[str]) -> None:
    """Measure what is missing in the cache, and print the table of all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", default=list(comparison_tables.TABLES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--splits", type=int, default=5, help="how many, by the seeds 0, 1, ...")
    parser.add_argument("--rows", type=int, default=10_000, help="of a table, at most")
    parser.add_argument("--cache", type=Path, default=Path("runs/compare_tables.json"))
    chosen = parser.parse_args(argv)
    packages = [PACKAGES[m] for m in chosen.methods if m in PACKAGES]
    require_extra("compare", "The comparison", *dict.fromkeys(["sklearn", *packages]))
    quiet()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    found = json.loads(chosen.cache.read_text()) if chosen.cache.exists() else {}
    for seed in range(chosen.splits):
        for table in chosen.tables:
            missing = [
                m for m in chosen.methods if f"{table}|{chosen.rows}|{seed}|{m}" not in found
            ]
            for method, result in measure(table, seed, chosen.rows, missing):
                found[f"{table}|{chosen.rows}|{seed}|{method}"] = result
                chosen.cache.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(chosen.cache, "w", encoding="utf-8") as file:
                    json.dump(found, file, indent=0)
    print(report(found, chosen.tables, chosen.methods, chosen.rows))


def measure(
    table: str, seed: int, rows: int, methods: list[str]
) -> Iterator[tuple[str, dict[str, float]]]:
    """Train methods on one split of a table; yield each one's test metrics and seconds."""
    if not methods:
        return
    frame, target = comparison_tables.read(table, rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{table}.csv"
        frame.to_csv(path, index=False)
        data = Tabular(str(path), target, seed=seed, source="real", cache="no")
        data.setup()
        test = data.rows["test"]
        del frame[target]
        for method in methods:
            began = time.process_time()
            if method in OURS:
                predicted = ours(method, path, target, seed, frame.iloc[test])
            elif method == "TabM":
                predicted = tabm(data, seed)
            else:
                predicted = theirs(method, data, frame, seed)
            seconds = time.process_time() - began
            yield method, {**metrics(data, test, predicted), "seconds": seconds}


def ours(name: str, path: Path, target: str, seed: int, rows: pd.DataFrame) -> np.ndarray:
    """Train a recipe as `fit` does; return probabilities (N, classes), or values (N,)."""
    settings = {"data.path": str(path), "data.seed": seed, "data.cache": "no"}
    with contextlib.redirect_stdout(io.StringIO()):
        run = zoo.fit(
            name,
            target=target,
            seed=seed,
            inspect="none",
            settings=settings,
            default_root_dir=path.parent,
        )
    answer = run.model.predict(rows)
    if "probabilities" not in answer:
        return np.asarray(answer["prediction"])[:, 0]
    return np.asarray(answer["probabilities"])


def theirs(method: str, data: Tabular, frame: pd.DataFrame, seed: int) -> np.ndarray:
    """Train one of the others at its defaults, in its usual pipeline; return what `ours` does."""
    from sklearn.compose import TransformedTargetRegressor, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    is_number = data.task == "regression"
    fitted, test = np.concatenate([data.rows["train"], data.rows["val"]]), data.rows["test"]
    # Classes are numbered as ours are, so that probabilities stand in one order.
    y = torch.cat([data.splits[name][1] for name in ("train", "val")]).flatten().numpy()
    made = getattr(importlib.import_module(LIBRARIES[method]), CLASSES[method][is_number])
    options = dict(OPTIONS.get(method, {}))
    if method != "linear":
        options["random_seed" if method == "CatBoost" else "random_state"] = seed
    elif not is_number:
        options["max_iter"] = 1000
    words = [name for name in frame if frame[name].dtype.kind not in "iufb"]
    numbers = [name for name in frame if name not in words]
    if method == "CatBoost":
        options["cat_features"] = words
        frame = frame.assign(**{name: frame[name].fillna("missing").astype(str) for name in words})
    elif method not in ("MLP", "linear"):
        known = {name: frame[name].iloc[fitted].value_counts().index[:250] for name in words}
        frame = frame.assign(**{n: pd.Categorical(frame[n], categories=known[n]) for n in words})
    model = made(**options)
    if method in ("MLP", "linear"):
        model = make_pipeline(
            make_column_transformer(
                (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
                (
                    make_pipeline(
                        SimpleImputer(strategy="most_frequent"),
                        OneHotEncoder(handle_unknown="ignore"),
                    ),
                    words,
                ),
            ),
            model,
        )
        if is_number:
            model = TransformedTargetRegressor(model, transformer=StandardScaler())
    if is_number:
        model.fit(frame.iloc[fitted], y)
        return np.asarray(model.predict(frame.iloc[test]))
    model.fit(frame.iloc[fitted], y.astype(np.int64))
    return np.asarray(model.predict_proba(frame.iloc[test]))


def tabm(data: Tabular, seed: int, patience: int = 16) -> np.ndarray:
    """Train TabM at the defaults of its package and its example; return what `ours` does.

    It reads what our preprocessing gives: scaled numbers, embedded piecewise linearly, and codes.
    """
    from rtdl_num_embeddings import PiecewiseLinearEmbeddings, compute_bins
    from tabm import TabM

    torch.manual_seed(seed)
    described = data.preprocessing
    count, sizes = (
        len(described["numeric"]),
        [len(e["vocabulary"]) for e in described["categorical"]],
    )

    def parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        preprocess = TablePreprocessing({**described, "categorical": []})
        numbers = preprocess(x[:, :count]) if count else x[:, :0]
        codes = x[:, count:].nan_to_num(-1.0).long()
        for i, entry in enumerate(described["categorical"]):
            place = {code: n for n, code in enumerate(entry["codes"])}
            found = [place.get(code, sizes[i]) for code in codes[:, i].tolist()]
            codes[:, i] = torch.tensor(found)
        return numbers, codes if sizes else None

    split = {name: (parts(x), y) for name, (x, y) in data.splits.items()}
    (numbers, codes), y = split["train"]
    outputs = data.num_outputs if data.task != "binary" else 2
    varied = [column for column in numbers.T if len(column.unique()) > 1]
    embed = None
    if len(varied) == numbers.shape[1] and count:
        bins = compute_bins(numbers, n_bins=min(48, len(y) - 1))
        embed = PiecewiseLinearEmbeddings(bins, d_embedding=16, activation=False, version="B")
    model = TabM.make(
        n_num_features=numbers.shape[1],
        num_embeddings=embed,
        cat_cardinalities=[size + 1 for size in sizes] or None,
        d_out=outputs,
    )
    mean, std = (y.mean(0), y.std(0)) if data.task == "regression" else (0.0, 1.0)
    compare = torch.nn.functional.mse_loss if data.task == "regression" else None

    def loss(answers: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        wide = answers.flatten(0, 1)
        if compare:
            return compare(wide, ((y - mean) / std).repeat_interleave(answers.shape[1], 0))
        wanted = y.long().reshape(-1).repeat_interleave(answers.shape[1])
        return torch.nn.functional.cross_entropy(wide, wanted)

    def answers(name: str) -> torch.Tensor:
        model.eval()
        with torch.inference_mode():
            return model(*split[name][0])

    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=3e-4)
    lowest, best, since = float("inf"), model.state_dict(), 0
    while since < patience:
        model.train()
        for index in torch.randperm(len(y)).split(256):
            batch = numbers[index], None if codes is None else codes[index]
            optimizer.zero_grad()
            loss(model(*batch), y[index]).backward()
            optimizer.step()
        value = float(loss(answers("val"), split["val"][1]))
        since += 1
        if value < lowest:
            lowest, since = value, 0
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(best)
    found = answers("test")
    if data.task == "regression":
        return (found.mean(1) * std + mean)[:, 0].numpy()
    return found.softmax(-1).mean(1).numpy()


def metrics(data: Tabular, test: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return accuracy, AUROC and log loss of probabilities, or R2 of values."""
    from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score

    truth = data.splits["test"][1].numpy()
    if data.task == "regression":
        return {"r2": r2_score(truth, predicted)}
    truth, count = truth.astype(int), len(data.class_names)
    chances = predicted / predicted.sum(axis=1, keepdims=True)
    there = np.unique(truth)
    found = {"accuracy": accuracy_score(truth, chances.argmax(axis=1))}
    found["log_loss"] = log_loss(truth, chances, labels=np.arange(count))
    of_class = [roc_auc_score(truth == c, chances[:, c]) for c in there if len(there) > 1]
    return {**found, "auroc": float(np.mean(of_class))}


def report(found: dict[str, Any], tables: list[str], methods: list[str], rows: int) -> str:
    """Return a table in Markdown: means over the splits that every method has, ranks, seconds."""
    lines: list[list[str]] = []
    every: list[dict[str, dict[str, float]]] = []
    for table in tables:
        seeds = sorted({key.split("|")[2] for key in found if key.startswith(f"{table}|{rows}|")})
        splits = [{m: found.get(f"{table}|{rows}|{s}|{m}") for m in methods} for s in seeds]
        if complete := [split for split in splits if all(split.values())]:
            metric = _main_metric(complete[0][methods[0]])
            means = [np.mean([split[m][metric] for split in complete]).round(3) for m in methods]
            cells = [f"**{v:.3f}**" if v == max(means) else f"{v:.3f}" for v in means]
            lines.append([f"{table}, {SHOWN[metric]}", str(len(complete)), *cells])
            every += complete
    main = [[-split[m][_main_metric(split[m])] for m in methods] for split in every]
    if main:
        lines.append(["mean rank", str(len(main)), *(f"{r:.2f}" for r in _ranks(np.array(main)))])
    for metric, sign in {"log_loss": 1, "accuracy": -1}.items():
        having = [split for split in every if metric in split[methods[0]]]
        values = np.array([[split[m][metric] for m in methods] for split in having])
        if having:
            count = str(len(having))
            means = (f"{mean:.3f}" for mean in values.mean(axis=0))
            ranks = (f"{rank:.2f}" for rank in _ranks(sign * values))
            lines.append([f"mean {SHOWN[metric]}", count, *means])
            lines.append([f"mean rank by {SHOWN[metric]}", count, *ranks])
    seconds = [[split[m]["seconds"] for m in methods] for split in every]
    if seconds:
        medians = (f"{median:.3g}" for median in np.median(seconds, axis=0))
        lines.append(["median processor seconds", str(len(seconds)), *medians])
    header = ["table", "splits", *(f"`{m}`" if m in OURS else m for m in methods)]
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    head = [header[0].ljust(widths[0]), *map(str.rjust, header[1:], widths[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *padded])


def _main_metric(result: dict[str, float]) -> str:
    """Return what a table is judged by."""
    return "r2" if "r2" in result else "auroc"


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return each column's mean rank, 1 for the lowest; equal ones share theirs."""
    return pd.DataFrame(values.round(6)).rank(axis=1).to_numpy().mean(axis=0)


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
