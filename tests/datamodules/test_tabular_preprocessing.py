"""The fitted preprocessing of a table, and new tables that it reads."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from datamodules import UserError
from datamodules.tabular.encode import encode_frame


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
