"""Synthetic tables: the embedded default where no file is there, and trials of their own."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from datamodules.errors import UserError
from datamodules.files import atomic_write
from datamodules.images import SyntheticDataWarning
from datamodules.tabular.sources import find_files
from datamodules.tabular.store import default_folder

# What `--data tabular` reads if no path is given.
DEFAULT = "synthetic_customers.csv"
TARGET = "churned"
VERSION = 1


def customers(rows: int = 3_000) -> pd.DataFrame:
    """Make customers who stay or leave: numbers, categories, dates, booleans, missing cells."""
    rng = np.random.default_rng(VERSION)
    age = rng.integers(18, 90, rows)
    months = rng.integers(1, 120, rows)
    bill = np.exp(rng.normal(4, 0.6, rows)).round(2)
    calls = rng.poisson(2, rows)
    plan = rng.choice(["basic", "plus", "family", "business"], rows, p=[0.45, 0.3, 0.15, 0.1])
    region = rng.choice([f"region {i:02d}" for i in range(16)], rows)
    online = rng.random(rows) < 0.6
    since = pd.Timestamp("2024-01-01") - pd.to_timedelta(months * 30, unit="D")
    risk = 1.2 * np.sin(age / 14) + 0.7 * calls - 0.025 * months + 0.9 * (bill > 80)
    risk += 1.5 * ((plan == "basic") & ~online) - 0.8 * (plan == "business")
    left = risk + rng.logistic(size=rows) > np.quantile(risk, 0.7)
    table = pd.DataFrame(
        {
            "customer_id": np.arange(1, rows + 1),
            "age": age.astype(float),
            "months": months,
            "monthly_bill": bill,
            "support_calls": calls,
            "plan": plan,
            "region": region,
            "online": online,
            "since": since.strftime("%Y-%m-%d"),
            TARGET: np.where(left, "yes", "no"),
        }
    )
    table.loc[rng.random(rows) < 0.08, "age"] = np.nan
    table.loc[rng.random(rows) < 0.05, "plan"] = np.nan
    return table


def water_potability(rows: int = 3_276) -> pd.DataFrame:
    """Make water samples with the columns, scales and gaps of the published table."""
    rng = np.random.default_rng(VERSION)
    moments = {
        "ph": (7.08, 1.59),
        "Hardness": (196.4, 32.9),
        "Solids": (22014.0, 8769.0),
        "Chloramines": (7.12, 1.58),
        "Sulfate": (333.8, 41.4),
        "Conductivity": (426.2, 80.8),
        "Organic_carbon": (14.28, 3.31),
        "Trihalomethanes": (66.4, 16.2),
        "Turbidity": (3.97, 0.78),
    }
    unit = {name: rng.normal(size=rows) for name in moments}
    score = unit["ph"] * unit["Sulfate"] + 0.7 * np.abs(unit["Hardness"]) - 0.4 * unit["Solids"]
    score += rng.logistic(size=rows)
    table = pd.DataFrame({n: mean + std * unit[n] for n, (mean, std) in moments.items()})
    table["Potability"] = (score > np.quantile(score, 0.61)).astype(int)
    for name, share in {"ph": 0.15, "Sulfate": 0.24, "Trihalomethanes": 0.05}.items():
        table.loc[rng.random(rows) < share, name] = np.nan
    return table


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    DEFAULT: customers,
    "water_potability.csv": water_potability,
}


def stand_in(
    path: str | list[str] | None, folders: list[Path], source: str, named_by: str = ""
) -> Path | None:
    """Return the synthetic table that stands in for a built-in table's file.

    Args:
        path: What the user named.
        folders: Where the file is looked up besides the working directory.
        source: `real`, `synthetic` or `auto`.
        named_by: What names the first of the folders, if somebody does.

    Returns:
        Its file in the user's cache folder, or None if the real one is to be read.

    Raises:
        UserError: If `synthetic` is asked for a table that is not built in, or if the file is not
            in a folder that somebody named: it never stands in for that.
    """
    if not isinstance(path, str) or path not in TABLES:
        if source == "synthetic":
            raise UserError(
                f"--data.source synthetic can make {', '.join(TABLES)} only; to read a file, leave "
                "it out."
            )
        return None
    there = any((folder / path).exists() for folder in [Path(), *folders])
    if source == "real" or (source == "auto" and there):
        return None
    # Without a path there is no file to look for, unless a folder was given with the data.
    expected = path != DEFAULT or named_by == "--data.data_dir"
    if source == "auto" and named_by and expected:
        which = "no --data.path says which table of" if path == DEFAULT else f"no {path} in"
        raise UserError(
            f"There is {which} '{folders[0]}', which {named_by} names. Give --data.path FILE "
            "--data.target COLUMN; --data.source synthetic asks for a synthetic table."
        )
    reason = "--data.source synthetic asks for it" if source == "synthetic" else "no such file"
    if path == DEFAULT:
        reason = "no --data.path is given"
    warnings.warn(
        f"This table is synthetic, it is not real data ({reason}). Metrics on it say nothing "
        "about any real table. For a real one pass --data.path FILE --data.target COLUMN"
        + ("." if path == DEFAULT else f", or put {path} into a folder named by ZOO_DATA_DIR."),
        SyntheticDataWarning,
        stacklevel=5,
    )
    return _write(path)


def locate(
    paths: dict[str, str | list[str] | None],
    folders: list[Path],
    source: str,
    named_by: str = "",
) -> tuple[list[tuple[str, Path]], bool]:
    """Return role and path of every file, and whether one is synthetic.

    Args:
        paths: What the user named, by role; only `all` may be made.
        folders: Where relative names are looked up besides the working directory.
        source: `real`, `synthetic` or `auto`.
        named_by: What names the first of the folders, if somebody does.
    """
    files = []
    made = stand_in(paths["all"], folders, source, named_by)
    for role, path in paths.items():
        if made is not None and role == "all":
            files.append((role, made))
        elif path is not None:
            files += [(role, file) for file in find_files(path, folders)]
    return files, made is not None


def _write(name: str) -> Path:
    """Write a table once, in one step; where the cache folder is not writable, elsewhere."""
    for folder in (default_folder() / f"synthetic-{VERSION}", Path(tempfile.mkdtemp())):
        file = folder / name
        try:
            if file.exists():
                return file
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(file, "w", encoding="utf-8", newline="") as opened:
                TABLES[name]().to_csv(opened, index=False)
            return file
        except OSError:
            continue
    raise UserError("No folder to write a synthetic table to; set XDG_CACHE_HOME to one.")
