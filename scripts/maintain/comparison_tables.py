"""The tables that networks and trees are compared on: published ones, scikit-learn's, made ones."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from datamodules.folders import data_folder


def _published(
    name: str, target: str | int, drop: tuple[str, ...] = (), header: int | None = 0
) -> Callable[[], tuple[pd.DataFrame, str]]:
    def read() -> tuple[pd.DataFrame, str]:
        folder = data_folder(None)[0] / "csv"
        frame = (
            pd.read_csv(folder / name, header=header).dropna(how="all").dropna(axis=1, how="all")
        )
        frame.columns = [f"c{c}" if header is None else str(c).strip() for c in frame.columns]
        column = frame.columns[target] if isinstance(target, int) else target
        return frame.drop(columns=list(drop)).dropna(subset=[column]), column

    return read


def _of_sklearn(name: str) -> Callable[[], tuple[pd.DataFrame, str]]:
    def read() -> tuple[pd.DataFrame, str]:
        from sklearn import datasets

        return getattr(datasets, f"load_{name}")(as_frame=True).frame, "target"

    return read


def friedman(rows: int = 2_000) -> tuple[pd.DataFrame, str]:
    """Make the first regression of Friedman (1991): five of ten numbers matter."""
    rng = np.random.default_rng(1)
    x = rng.random((rows, 10))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    y += 10 * x[:, 3] + 5 * x[:, 4] + rng.normal(size=rows)
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(10)]).assign(target=y), "target"


def incomes(rows: int = 4_000) -> tuple[pd.DataFrame, str]:
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
    high = score + rng.logistic(size=rows) > 0
    return table.assign(target=np.where(high, "high", "low")), "target"


def zips(rows: int = 3_000) -> tuple[pd.DataFrame, str]:
    """Make 150 postal codes whose numbers say nothing of their level, beside two quantities."""
    rng = np.random.default_rng(7)
    codes = np.sort(rng.choice(np.arange(10_000, 99_999), 150, replace=False))
    place, a, b = rng.integers(0, 150, rows), rng.normal(size=rows), rng.normal(50, 12, rows)
    score = rng.normal(0, 1.2, 150)[place] + 0.7 * a + 0.03 * (b - 50) + rng.logistic(size=rows)
    table = pd.DataFrame({"zip": codes[place], "a": a.round(3), "b": b.round(1)})
    return table.assign(target=np.where(score > 0, "yes", "no")), "target"


def wide(rows: int = 300, columns: int = 2_000) -> tuple[pd.DataFrame, str]:
    """Make 2,000 columns of which four matter, by steps, for 300 rows."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(rows, columns))
    score = (x[:, 3] > 0.3) + 1.0 * (x[:, 50] > 0) - 1.0 * (x[:, 900] > -0.2)
    score = 2 * (score + (np.abs(x[:, 1500]) > 0.8))
    is_high = score - score.mean() + 0.5 * rng.logistic(size=rows) > 0
    table = pd.DataFrame(x.round(4), columns=[f"x{i}" for i in range(columns)])
    return table.assign(target=np.where(is_high, "yes", "no")), "target"


#: What gives a table and its target column, by name.
TABLES: dict[str, Callable[[], tuple[pd.DataFrame, str]]] = {
    "bank": _published("bank.csv", "subscribed"),
    "bike": _published("bike_hours.csv", "cnt", ("instant", "dteday", "casual", "registered")),
    "california": _published("california.csv", "median_house_value"),
    "energy": _published("energy.csv", "Y1", ("Y2",)),
    "glass": _published("glass.csv", -1, header=None),
    "haberman": _published("haberman.csv", -1, header=None),
    "ionosphere": _published("ionosphere.csv", -1, header=None),
    "magic": _published("magic.csv", "class"),
    "titanic": _published("titanic.csv", "survived", ("alive",)),
    "water_potability": _published("water_potability.csv", "Potability"),
    "breast_cancer": _of_sklearn("breast_cancer"),
    "diabetes": _of_sklearn("diabetes"),
    "digits": _of_sklearn("digits"),
    "wine": _of_sklearn("wine"),
    "friedman": friedman,
    "incomes": incomes,
    "wide": wide,
    "zips": zips,
}


def read(name: str, rows: int) -> tuple[pd.DataFrame, str]:
    """Return a table of at most so many rows, drawn by seed 0, and its target column."""
    frame, target = TABLES[name]()
    if len(frame) > rows:
        frame = frame.sample(rows, random_state=0)
    return frame.reset_index(drop=True), target
