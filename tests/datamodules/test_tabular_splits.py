"""Splits of a table: drawn, by number, by a column, by files."""

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
