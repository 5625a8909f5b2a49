"""Columns and targets: what a table is taken for."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from tables import N, kinds

from datamodules import Tabular, UserError


def test_kinds_of_columns(table, people):
    data = table(people, "left")
    assert kinds(data) == {
        "age": "numeric",
        "income": "numeric",
        "member": "boolean",
        "plan": "category",
        "joined": "date",
    }
    names = [entry["name"] for entry in data.preprocessing["numeric"]]
    assert names[:4] == ["age", "income", "member", "joined.days"]
    assert "joined.hour" in names
    assert "'person_id' counts the rows" in data.profile
    shuffled = table(people.sample(frac=1, random_state=0), "left")
    assert "'person_id' looks like a key (whole numbers, each once)" in shuffled.profile
    assert "'comment' is free text (200 different values" in data.profile


def test_the_users_word_on_columns(table, people):
    data = table(people, "left", categorical=["age"], drop=["income"], numeric=["person_id"])
    assert kinds(data)["age"] == "category"
    assert kinds(data)["person_id"] == "numeric"
    assert "income" not in kinds(data)
    ages = next(e for e in data.preprocessing["categorical"] if e["name"] == "age")
    assert all("." not in age for age in ages["vocabulary"]), "18.0 is written 18"
    assert set(kinds(table(people, "left", columns=["age", "plan"]))) == {"age", "plan"}


def test_one_column_needs_no_list(table, people):
    options = {"categorical": "age", "drop": "income", "numeric": "person_id", "missing": "gone"}
    listed = table(people, "left", **{key: [name] for key, name in options.items()})
    assert table(people, "left", **options).preprocessing == listed.preprocessing
    assert set(kinds(table(people, "left", columns="plan"))) == {"plan"}


@pytest.mark.parametrize(
    ("form", "parts"),
    [
        ("%d.%m.%Y", {"days", "year", "month", "day", "weekday"}),
        ("%m/%d/%Y", {"days", "year", "month", "day", "weekday"}),
        ("%Y-%m-%dT%H:%M:%SZ", {"days", "year", "month", "day", "weekday", "hour"}),
        ("%d-%b-%Y", {"days", "year", "month", "day", "weekday"}),
        ("%H:%M", {"days", "hour"}),
    ],
)
def test_dates_in_many_ways(table, form, parts):
    times = pd.date_range("2019-03-01 04:05", periods=90, freq="193h7min")
    data = table(pd.DataFrame({"when": times.strftime(form), "y": np.arange(90) % 2}), "y")
    assert {e["name"] for e in data.preprocessing["numeric"]} == {f"when.{p}" for p in parts}
    if "year" in parts:
        year = next(e for e in data.preprocessing["numeric"] if e["name"] == "when.year")
        assert 2019 < year["mean"] < 2021


def test_two_texts_are_binary_and_keep_their_names(table, people):
    data = table(people, "left")
    assert (data.task, data.num_classes, data.num_outputs) == ("binary", 2, 1)
    assert data.class_names == ["leaves", "stays"]
    y = data.splits["train"][1]
    assert (y.dtype, y.ndim) == (torch.float32, 1)


def test_several_texts_are_multiclass(table, people):
    data = table(people, "plan")
    assert (data.task, data.num_outputs) == ("multiclass", 3)
    assert data.class_names == ["basic", "plus", "pro"]
    assert data.splits["train"][1].dtype == torch.int64
    missing = int(people["plan"].isna().sum())
    assert sum(len(x) for x, _ in data.splits.values()) == N - missing
    assert f"{missing} rows left out because it is missing there" in data.profile


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (lambda i: i % 2, "binary", ["0", "1"]),
        (lambda i: i % 2 + 1.0, "binary", ["1", "2"]),
        (lambda i: i % 2 == 0, "binary", ["False", "True"]),
        (lambda i: 3 + i % 7, "multiclass", list("3456789")),
        (lambda i: (2 + i) % 11, "multiclass", [str(i) for i in range(11)]),
        (lambda i: i * 0.5, "regression", []),
        (lambda i: i % 60, "regression", []),
    ],
)
def test_the_task_follows_the_target(table, values, task, classes):
    frame = pd.DataFrame({"x": np.sin(np.arange(N)), "y": [values(i) for i in range(N)]})
    data = table(frame, "y")
    assert (data.task, data.class_names) == (task, classes)


def test_the_users_word_on_the_task(table):
    frame = pd.DataFrame({"x": np.sin(np.arange(N)), "y": np.arange(N) % 7})
    assert table(frame, "y", task="regression").splits["train"][1].dtype == torch.float32
    frame["y"] = np.arange(N) % 40
    assert table(frame, "y", task="multiclass").num_outputs == 40


def test_regression_targets_keep_their_units_and_bring_their_moments(table, people):
    data = table(people, "income")
    y = data.splits["train"][1]
    assert (data.task, y.shape[1], data.num_outputs) == ("regression", 1, 1)
    assert y.max() > 1_000
    lowest = min(y.min().item() for _, y in data.splits.values())
    assert lowest == pytest.approx(people["income"].min())
    far = people.assign(income=people["income"].rank() + 1e6)
    assert table(far, "income").splits["train"][1].min() >= 1e6
    target = data.preprocessing["target"]
    assert target["mean"][0] == pytest.approx(y.mean().item(), rel=1e-4)
    assert target["std"][0] == pytest.approx(y.std(unbiased=False).item(), rel=1e-4)


def test_several_targets_are_one_regression(table):
    x = np.linspace(-1, 1, N)
    data = table(pd.DataFrame({"x": np.sin(9 * x), "a": x, "b": x**3}), ["a", "b"])
    assert data.num_outputs == 2
    assert data.splits["test"][1].shape == (30, 2)


def test_class_weights(table, people):
    weights = table(people, "left", class_weights="balanced").class_weights
    y = table(people, "left").splits["train"][1]
    share = y.mean().item()
    assert weights == pytest.approx([0.5 / (1 - share), 0.5 / share], rel=1e-5)
    assert table(people, "left", class_weights=[1, 3]).class_weights == [1.0, 3.0]
    assert table(people, "left").class_weights is None


def test_the_embedded_default_says_that_it_is_made_by_formula(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = Tabular()
    with pytest.warns(UserWarning, match="is synthetic"):
        data.setup()
    assert data.origin == "synthetic"
    assert data.class_names == ["no", "yes"]
    assert set(kinds(data).values()) == {"numeric", "boolean", "date", "category"}


def test_water_without_its_file_is_made_by_formula_unless_only_real_will_do(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    columns = ["ph", "Sulfate", "Conductivity", "Organic_carbon"]
    options = {"columns": columns, "missing_indicators": False, "scaling": "standard"}
    data = Tabular("water_potability.csv", "Potability", **options)
    with pytest.warns(UserWarning, match=r"put water_potability\.csv into a folder"):
        data.setup()
    assert (data.input_shape, data.task) == ((4,), "binary")
    with pytest.raises(UserError, match="There is no file"):
        Tabular("water_potability.csv", "Potability", source="real", **options).setup()
    with pytest.raises(UserError, match="can make"):
        Tabular("mine.csv", "y", source="synthetic").setup()


@pytest.mark.parametrize("how", ["argument", "variable"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_that_somebody_names_never_falls_back_on_a_table_made_by_formula(
    monkeypatch, tmp_path, how, exists
):
    folder, options = tmp_path / "tables", {}
    if exists:
        folder.mkdir()
    monkeypatch.setenv("ZOO_DATA_DIR", str(folder if how == "variable" else tmp_path))
    if how == "argument":
        options = {"data_dir": str(folder)}
    with pytest.raises(UserError) as caught:
        Tabular("water_potability.csv", "Potability", **options).setup()
    named_by = {"argument": "--data.data_dir", "variable": "ZOO_DATA_DIR"}[how]
    assert f"There is no water_potability.csv in '{folder}', which {named_by} names" in str(
        caught.value
    )
    with pytest.warns(UserWarning, match="is synthetic"):  # unless it is asked for
        Tabular("water_potability.csv", "Potability", source="synthetic", **options).setup()


def test_a_folder_without_the_name_of_a_table_is_not_left_unread_in_silence(tmp_path):
    with pytest.raises(UserError, match=r"no --data\.path says which table"):
        Tabular(data_dir=str(tmp_path)).setup()


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_no_name(name):
    with pytest.raises(UserError, match=r"--data\.path is empty"):
        Tabular(name, "y").setup()
    with pytest.raises(UserError, match=r"--data\.data_dir is empty"):
        Tabular("mine.csv", "y", data_dir=name)


def test_the_home_of_nobody_is_named(tmp_path):
    with pytest.raises(UserError, match=r"~nobody_at_all/t\.csv"):
        Tabular("~nobody_at_all/t.csv", "y").setup()


def test_a_table_of_your_own_warns_of_nothing(table, people):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert table(people, "left").origin == "real"


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "target", "task", "rows", "columns"),
    [
        ("water_potability.csv", "Potability", "binary", 3276, 9),
        ("titanic.csv", "survived", "binary", 891, 14),
        ("iris.csv", "species", "multiclass", 150, 4),
    ],
)
def test_the_classic_tables(name, target, task, rows, columns):
    data = Tabular(name, target, source="real")
    data.setup()
    assert data.task == task
    assert sum(len(x) for x, _ in data.splits.values()) == rows
    assert len(data.preprocessing["columns"]) == columns
