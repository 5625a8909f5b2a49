"""Columns, targets, splits and the fitted preprocessing of a table."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from datamodules import Tabular, UserError
from datamodules.tabular import rows as rows_room
from datamodules.tabular.encode import encode_frame

N = 200


@pytest.fixture
def people():
    """A table of every kind of column, with something missing in most of them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "person_id": np.arange(1000, 1000 + N),
            "age": rng.integers(18, 80, N).astype(float),
            "income": np.exp(rng.normal(10, 1.5, N)).round(2),
            "member": rng.choice(["yes", "no"], N),
            "plan": rng.choice(["basic", "plus", "pro"], N),
            "joined": pd.date_range("2020-01-01", periods=N, freq="31h").strftime("%Y-%m-%d %H:%M"),
            "comment": [f"text number {i} of many" for i in range(N)],
            "left": rng.choice(["stays", "leaves"], N, p=[0.8, 0.2]),
        }
    )
    frame.loc[rng.random(N) < 0.1, ["age"]] = np.nan
    frame.loc[rng.random(N) < 0.1, ["plan"]] = np.nan
    return frame


@pytest.fixture
def table(tmp_path):
    def make(frame, target, **options):
        path = tmp_path / "t.csv"
        frame.to_csv(path, index=False)
        data = Tabular(str(path), target, **options)
        data.setup()
        return data

    return make


def kinds(data):
    return {column["name"]: column["kind"] for column in data.preprocessing["columns"]}


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
    assert "'comment' looks like a key or free text (200 different values" in data.profile


def test_the_users_word_on_columns(table, people):
    data = table(people, "left", categorical=["age"], drop=["income"], numeric=["person_id"])
    assert kinds(data)["age"] == "category"
    assert kinds(data)["person_id"] == "numeric"
    assert "income" not in kinds(data)
    ages = next(e for e in data.preprocessing["categorical"] if e["name"] == "age")
    assert all("." not in age for age in ages["vocabulary"]), "18.0 is written 18"
    assert set(kinds(table(people, "left", columns=["age", "plan"]))) == {"age", "plan"}


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


def rows_of(data):
    return {
        split: {tuple(row) for row in x.nan_to_num(-1).tolist()}
        for split, (x, _) in data.splits.items()
    }


def test_splits_are_disjoint_seeded_and_stratified(table, people):
    data = table(people, "left", seed=3)
    found = rows_of(data)
    assert [len(found[s]) for s in ("train", "val", "test")] == [140, 30, 30]
    assert len(set.union(*found.values())) == N
    assert rows_of(table(people, "left", seed=3)) == found
    assert rows_of(table(people, "left", seed=4)) != found
    shares = [y.mean().item() for _, y in data.splits.values()]
    assert max(shares) - min(shares) < 0.04


def test_splits_by_number(table, people):
    data = table(people, "left", val_split=7, test_split=11)
    assert [len(data.splits[s][0]) for s in ("train", "val", "test")] == [182, 7, 11]


def test_splits_by_column(table, people):
    people["part"] = ["training"] * 150 + ["dev"] * 20 + ["test"] * 30
    data = table(people, "left", split_column="part")
    assert [len(data.splits[s][0]) for s in ("train", "val", "test")] == [150, 20, 30]
    assert "part" not in kinds(data)
    people["part"] = ["train"] * 100 + ["tset"] * 100
    with pytest.raises(UserError, match="holds 'tset'; it should say train, val or test"):
        table(people, "left", split_column="part")


def test_splits_by_files(table, people, tmp_path):
    people.iloc[:40].to_csv(tmp_path / "test.csv", index=False)
    data = table(people.iloc[40:], "left", test_path=str(tmp_path / "test.csv"))
    assert [len(data.splits[s][0]) for s in ("train", "val", "test")] == [136, 24, 40]
    assert data.splits["test"][0][0, 0].item() == people["age"][0]
    people.drop(columns="left").to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(UserError, match=r"test\.csv has no column 'left', the target"):
        table(people, "left", test_path=str(tmp_path / "test.csv"))


def test_the_preprocessing_is_fitted_to_the_training_rows_alone(table):
    frame = pd.DataFrame({"x": np.r_[np.arange(100.0), np.full(20, 1e6)], "y": np.arange(120) % 2})
    frame["k"] = ["a", "b"] * 50 + ["only in test"] * 20
    frame["part"] = ["train"] * 90 + ["val"] * 10 + ["test"] * 20
    data = table(frame, "y", split_column="part", scaling="standard")
    entry = data.preprocessing["numeric"][0]
    assert entry["mean"] == pytest.approx(44.5)
    assert entry["std"] == pytest.approx(np.arange(90.0).std())
    assert data.preprocessing["categorical"][0]["vocabulary"] == ["a", "b"]


def test_robust_and_logarithmic_scales(table, people):
    people.loc[0, "age"] = 5_000
    robust = table(people, "left", scaling="robust").preprocessing["numeric"][0]
    assert 40 < robust["mean"] < 60
    assert robust["std"] < 40
    logs = {e["name"]: e["log"] for e in table(people, "left").preprocessing["numeric"]}
    assert logs["income"]
    assert not logs["joined.days"]
    plain = table(people, "left", scaling="standard").preprocessing["numeric"]
    assert not any(entry["log"] for entry in plain)


def test_the_preprocessing_is_plain_json(table, people):
    described = table(people, "left", bins=8).preprocessing
    assert json.loads(json.dumps(described)) == described


def test_a_new_table_is_encoded_by_column_name(table, people):
    data = table(people, "left", shuffle=False)
    described = json.loads(json.dumps(data.preprocessing))
    straight = encode_frame(people, described)
    as_texts = people.astype(object).where(people.notna(), "").astype(str)
    shuffled = as_texts[sorted(as_texts.columns, reverse=True)].assign(more="ignored")
    torch.testing.assert_close(encode_frame(shuffled, described), straight, equal_nan=True)
    trained_on = torch.cat([x for x, _ in data.splits.values()]).nan_to_num(-7)
    assert {tuple(r) for r in trained_on.tolist()} == {
        tuple(r) for r in straight.nan_to_num(-7).tolist()
    }


def test_unseen_categories_and_unreadable_cells_in_a_new_table(table, people):
    described = table(people, "left").preprocessing
    new = people.iloc[:3].astype(object)
    new["plan"] = ["platinum", "?", "pro"]
    new["age"] = ["old", "", "44"]
    encoded = encode_frame(new, described)
    assert encoded[0, -1] == -1
    assert encoded[1, -1].isnan()
    assert encoded[2, -1] >= 0
    assert encoded[:2, 0].isnan().all()
    assert encoded[2, 0] == 44


def test_columns_that_a_new_table_lacks_are_named(table, people):
    described = table(people, "left").preprocessing
    new = people.drop(columns=["age"]).rename(columns={"member": "members"})
    with pytest.raises(UserError, match=r"lacks 2 of the 5 columns.*'age', 'member' \(is it 'mem"):
        encode_frame(new, described)


def test_a_mapped_table_gives_what_memory_gives(table, people, tmp_path, monkeypatch):
    whole = table(people, "left")
    mapped = table(people, "left", cache="yes", cache_dir=str(tmp_path / "cache"))
    for split in ("train", "val", "test"):
        torch.testing.assert_close(
            mapped.splits[split][0][:], whole.splits[split][0], equal_nan=True
        )
    assert mapped.input_shape == whole.input_shape
    ours = [x for x, _ in mapped.val_dataloader()]
    torch.testing.assert_close(torch.cat(ours), whole.splits["val"][0], equal_nan=True)
    batches = [torch.cat([x, y[:, None]], 1) for x, y in mapped.train_dataloader()]
    theirs = [torch.cat([x, y[:, None]], 1) for x, y in whole.train_dataloader()]
    torch.testing.assert_close(torch.cat(batches), torch.cat(theirs), equal_nan=True)


def test_a_large_table_is_shuffled_in_windows_and_every_row_is_read(table, tmp_path, monkeypatch):
    frame = pd.DataFrame(
        {"x": np.random.default_rng(0).permutation(5_000) * 0.5, "y": np.arange(5_000) % 2}
    )
    data = table(frame, "y", cache="yes", cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr(rows_room, "WINDOWED_FROM", 0)
    monkeypatch.setattr(rows_room, "WINDOW_BYTES", 4 * 2_000)
    batches = data.train_dataloader()
    first = torch.cat([x for x, _ in batches]).flatten()
    batches.set_epoch(1)
    second = torch.cat([x for x, _ in batches]).flatten()
    expected = data.splits["train"][0][:].flatten()
    assert not torch.equal(first, second)
    for order in (first, second):
        torch.testing.assert_close(order.sort().values, expected.sort().values)


def test_every_rank_reads_its_own_rows_of_a_large_table(table, tmp_path, monkeypatch):
    frame = pd.DataFrame(
        {"x": np.random.default_rng(0).permutation(3_000) * 0.5, "y": np.arange(3_000) % 2}
    )
    data = table(frame, "y", cache="yes", cache_dir=str(tmp_path / "cache"))
    monkeypatch.setattr(rows_room, "WINDOWED_FROM", 0)
    x, y = data.splits["train"]
    ranks = [
        rows_room.RowBatches(x, y, 64, shuffle=True, pad=True, rank=rank, world_size=2)
        for rank in range(2)
    ]
    read = torch.cat([b for r in ranks for b, _ in r]).flatten()
    torch.testing.assert_close(read.sort().values, x[:].flatten().sort().values)


def test_the_embedded_default_says_that_it_is_made_by_formula(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = Tabular()
    with pytest.warns(UserWarning, match="made by formula"):
        data.setup()
    assert data.origin == "synthetic"
    assert data.class_names == ["no", "yes"]
    assert set(kinds(data).values()) == {"numeric", "boolean", "date", "category"}


def test_water_without_its_file_is_made_by_formula_unless_only_real_will_do(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
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
