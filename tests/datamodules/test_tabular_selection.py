"""Tables with more columns than rows: what tells of the target is found among what does not."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import zoo
from datamodules import Tabular

TELLING = ["x3", "x50", "x200", "shape"]


def wide_table(task: str, rows: int = 300, columns: int = 600) -> pd.DataFrame:
    """Make a table in which a step, a slope, a far value and a word tell of the target."""
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, columns))
    shape = random.choice(["round", "square", "long"], rows)
    score = (
        1.5 * (x[:, 3] > 0.3) + x[:, 50] + 2.5 * (np.abs(x[:, 200]) > 0.7) + 2 * (shape == "long")
    )
    score += random.normal(size=rows)
    table = pd.DataFrame(x, columns=[f"x{i}" for i in range(columns)]).assign(shape=shape)
    if task == "multiclass":
        return table.assign(target=pd.cut(score, 3, labels=["low", "middle", "high"]).astype(str))
    is_high = np.where(score > np.median(score), "yes", "no")
    return table.assign(target=score if task == "regression" else is_high)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_telling_columns_are_found_and_few_others(task: str, tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    wide_table(task).to_csv(path, index=False)
    data = Tabular(str(path), "target", select="telling")
    read = [column["name"] for column in data.preprocessing["columns"]]
    assert set(TELLING) <= set(read)
    assert len(read) <= 20
    assert data.splits["train"][0].shape == (len(data.rows["train"]), len(read))
    assert f"the {len(read)} that tell most" in data.profile
    numbers = [entry["name"] for entry in data.preprocessing["numeric"]]
    frame = pd.read_csv(path).iloc[data.rows["train"]]
    np.testing.assert_allclose(data.splits["train"][0][:, 0], frame[numbers[0]], rtol=1e-5)


def test_slopes_are_found_as_steps_are(tmp_path: Path) -> None:
    """Six slopes among 1,000 columns: by the means in six bins two of them were not found."""
    random = np.random.default_rng(4)
    x = random.normal(size=(300, 1_000))
    is_high = x[:, :6].sum(axis=1) + 0.5 * random.logistic(size=300) > 0
    table = pd.DataFrame(x, columns=[f"x{i}" for i in range(1_000)])
    path = tmp_path / "wide.csv"
    table.assign(target=np.where(is_high, "yes", "no")).to_csv(path, index=False)
    columns = Tabular(str(path), "target", select="telling").preprocessing["columns"]
    assert {f"x{i}" for i in range(6)} <= {column["name"] for column in columns}


def test_the_choice_sees_training_rows_alone(tmp_path: Path) -> None:
    """A column that tells of the target in the other rows only is not read for it."""
    table = wide_table("binary")
    path = tmp_path / "wide.csv"
    table.to_csv(path, index=False)
    data = Tabular(str(path), "target")
    data.setup()
    held = np.concatenate([data.rows["val"], data.rows["test"]])
    table.loc[held, "x7"] = np.where(table.target[held] == "yes", 5.0, -5.0)
    table.to_csv(path, index=False)
    read = Tabular(str(path), "target", select="telling").preprocessing["columns"]
    assert "x7" not in [column["name"] for column in read]


@pytest.mark.parametrize(("rows", "select"), [(300, "all"), (2_000, "telling")])
def test_every_column_is_read_otherwise(rows: int, select: str, tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    wide_table("binary", rows, 400).to_csv(path, index=False)
    data = Tabular(str(path), "target", select=select)
    assert len(data.preprocessing["columns"]) == 401


def test_a_prediction_needs_what_was_read_alone(tmp_path: Path) -> None:
    table = wide_table("binary")
    options = {"inspect": "none", "max_epochs": 2, "default_root_dir": tmp_path}
    model = zoo.fit(data=table, target="target", **options).model
    read = [column["name"] for column in model.spec.preprocessing["columns"]]
    assert len(read) <= 20
    predicted = model.predict(table[read])["probabilities"]
    np.testing.assert_allclose(model.predict(table)["probabilities"], predicted)
