"""The comparison's table: means and ranks over the splits that every method has."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import compare_tables
from datamodules import Tabular

METHODS = ["tabular_net", "LightGBM", "linear"]


def results() -> dict[str, dict[str, float]]:
    def of(auroc: float) -> dict[str, float]:
        return {"accuracy": 0.5, "log_loss": 1 - auroc, "auroc": auroc, "seconds": 2.0}

    found = {f"a|100|0|{m}": of(v) for m, v in zip(METHODS, (0.9, 0.8, 0.7), strict=True)}
    found |= {f"a|100|1|{m}": of(v) for m, v in zip(METHODS, (0.7, 0.8, 0.8), strict=True)}
    found |= {
        f"b|100|0|{m}": {"r2": v, "seconds": 1.0}
        for m, v in zip(METHODS, (0.5, 0.4, 0.3), strict=True)
    }
    found["b|100|1|tabular_net"] = {"r2": -9.0, "seconds": 1.0}  # the others are missing
    found["a|999|0|linear"] = of(1.0)  # of more rows
    return found


def lines(tables: list[str]) -> dict[str, list[str]]:
    report = compare_tables.report(results(), tables, METHODS, rows=100)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.splitlines()]
    return {title: rest for title, *rest in cells}


def test_means_are_over_the_splits_that_every_method_has() -> None:
    shown = lines(["a", "b"])
    assert shown["a, AUROC"] == ["2", "**0.800**", "**0.800**", "0.750"]
    assert shown["b, R2"] == ["1", "**0.500**", "0.400", "0.300"]
    assert shown["median processor seconds"] == ["3", "2", "2", "2"]


def test_equal_ones_share_their_ranks_and_the_lowest_loss_is_first() -> None:
    shown = lines(["a", "b"])
    assert shown["mean rank by log loss"] == ["2", "2.00", "1.75", "2.25"]
    assert shown["mean rank by accuracy"] == ["2", "2.00", "2.00", "2.00"]
    assert shown["mean log loss"] == ["2", "0.200", "0.200", "0.250"]
    assert shown["mean rank"] == ["3", "1.67", "1.83", "2.50"]


def test_the_table_lines_up_and_is_markdown() -> None:
    report = compare_tables.report(results(), ["a"], METHODS, rows=100).splitlines()
    assert len({len(line) for line in report}) == 1
    assert set(report[1]) <= set("|-: ")


def test_classes_stand_in_one_order_for_all(tmp_path: Path) -> None:
    """'control' is before 'PD' for us, and after it where capital letters come first."""
    pytest.importorskip("sklearn")
    x = np.random.default_rng(0).normal(size=200)
    frame = pd.DataFrame({"x": x, "y": np.where(x > 0, "PD", "control")})
    frame.to_csv(tmp_path / "table.csv", index=False)
    data = Tabular(str(tmp_path / "table.csv"), "y", cache="no")
    data.setup()
    predicted = compare_tables.theirs("linear", data, frame.drop(columns="y"), 0)
    assert compare_tables.metrics(data, data.rows["test"], predicted)["auroc"] > 0.99
