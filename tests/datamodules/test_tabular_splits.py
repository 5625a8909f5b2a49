"""Splits of a table: drawn, by number, by a column, by files."""

import numpy as np
import pandas as pd
import pytest
from tables import N, kinds

from datamodules import UserError


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


# Groups and time


def customers(rows=600):
    rng = np.random.default_rng(0)
    who = rng.integers(60, size=rows)
    days = pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.permutation(rows), unit="D")
    return pd.DataFrame(
        {
            "x": rng.normal(size=rows),
            "customer": [f"c{i}" for i in who],
            "day": days,
            "y": np.where(who % 2, "yes", "no"),
        }
    )


@pytest.mark.parametrize("folds", [None, 4])
def test_a_group_stays_on_one_side(table, folds):
    frame = customers()
    held = []
    for fold in range(folds or 1):
        data = table(frame, "y", group="customer", folds=folds, fold=fold)
        sides = [set(frame["customer"][data.rows[s]]) for s in ("train", "val", "test")]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 60
        assert len(data.rows["test"]) == pytest.approx(600 / folds if folds else 90, rel=0.15)
        assert "customer" not in {c["name"] for c in data.preprocessing["columns"]}
        assert "no 'customer' is in two splits" in data.profile
        held += sorted(sides[2])
    if folds:
        assert len(held) == len(set(held)) == 60


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%y", "%Y-%m-%d %H:%M", "%b %d, %Y", "%j"],
)
def test_the_last_rows_test(table, form):
    frame = customers(300).sort_values("day")[:300]
    frame["day"] = range(300) if form == "%j" else frame["day"].dt.strftime(form)
    order = frame.reset_index(drop=True).index
    data = table(frame.reset_index(drop=True), "y", time="day")
    train, val, test = (order[data.rows[s]] for s in ("train", "val", "test"))
    assert train.max() < val.min() <= val.max() < test.min()
    assert (len(val), len(test)) == (45, 45)
    assert "split by 'day'" in data.profile


def test_rows_of_one_moment_are_not_torn_apart(table):
    frame = customers().assign(day=np.arange(600) // 100)
    data = table(frame, "y", time="day", test_size=0.2, val_size=0.2)
    assert {s: set(frame["day"][r]) for s, r in data.rows.items()} == {
        "train": {0, 1, 2, 3},
        "val": {4},
        "test": {5},
    }


def test_what_cannot_be_split_so_is_said(table):
    frame = customers()
    for options, said in (
        ({"time": "customer"}, "holds 'c"),
        ({"group": "one"}, "have the same 'one'"),
        ({"group": "customer", "time": "day"}, "not both"),
        ({"time": "day", "folds": 3}, "leave it out, or --data.time"),
        ({"group": "nobody"}, "--data.group"),
    ):
        with pytest.raises(UserError, match=said):
            table(frame.assign(one=1), "y", **options)


def test_everything_may_train(table):
    data = table(customers(), "y", val_size=0, test_size=0)
    assert [len(y) for _, y in data.splits.values()] == [600, 0, 0]


def test_duplicates_across_splits_are_counted(table):
    frame = customers(200)[["x", "y"]]
    twice = pd.concat([frame, frame])
    data = table(twice, "y")
    rows = np.arange(400) % 200
    expected = int(np.isin(rows[data.rows["test"]], rows[data.rows["train"]]).sum())
    assert expected > 10
    assert f"{expected} of 60 test rows" in data.profile
    assert f"{expected} of them in the target, too" in data.profile
    assert "alike to a training row" not in table(frame, "y").profile
