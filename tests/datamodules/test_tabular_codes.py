"""Whole numbers that are codes: the network reads them as numbers and learns of each value."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import zoo
from datamodules import Tabular
from zoo.deployment.export import export_model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write 40 districts whose numbers say nothing of their level, beside a quantity."""
    random = np.random.default_rng(0)
    districts = np.sort(random.choice(np.arange(10_000, 99_999), 40, replace=False))
    place, a = random.integers(0, 40, 1_200), random.normal(size=1_200).round(3)
    level = random.permutation(np.repeat([-2.0, 2.0], 20))
    is_high = level[place] + a + random.logistic(size=1_200) > 0
    table = pd.DataFrame({"district": districts[place], "a": a})
    table.assign(y=np.where(is_high, "high", "low")).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def test_codes_get_a_row_for_each_value_beside_the_number(path: Path) -> None:
    data = Tabular(str(path), "y", code_columns="embed")
    entries = {entry["name"]: entry for entry in data.preprocessing["numeric"]}
    known = pd.read_csv(path).district
    assert set(entries["district"]["values"]) <= set(known)
    assert len(entries["district"]["values"]) >= 39
    assert "values" not in entries["a"]
    assert "'district': read as a number and by value" in data.profile
    assert "--data.categorical" not in data.profile  # nothing is left to do
    plain = Tabular(str(path), "y").preprocessing["numeric"]
    assert all("values" not in entry for entry in plain)


def test_many_such_columns_are_one_sentence(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.integers(20, 60, (1_200, 9)))
    table.columns = [f"store {i}" for i in range(9)]
    table.assign(price=random.normal(size=1_200)).to_csv(tmp_path / "t.csv", index=False)
    profile = Tabular(str(tmp_path / "t.csv"), "price", code_columns="embed").profile
    assert "'store 5' and 3 more: read as a number and by value" in profile
    assert "store 6" not in profile


@pytest.mark.parametrize("none", [0, -1])
def test_a_quantity_with_a_value_for_none_is_no_code(none: int, tmp_path: Path) -> None:
    """Areas that are mostly 0, days since a call that are mostly -1: 0 alone differs, no others.

    Of a published table of bank customers a network then learned each of 242 numbers of days by
    heart: AUROC 0.905 on validation rows instead of 0.913.
    """
    random = np.random.default_rng(0)
    some = random.random((1_200, 9)) < 0.4
    areas = np.where(some, random.integers(20, 60, (1_200, 9)), none)
    price = some.sum(axis=1) + 0.1 * random.normal(size=1_200)
    table = pd.DataFrame(areas, columns=[f"area {i}" for i in range(9)]).assign(price=price)
    table.to_csv(tmp_path / "t.csv", index=False)
    data = Tabular(str(tmp_path / "t.csv"), "price", code_columns="embed")
    assert not [entry["name"] for entry in data.preprocessing["numeric"] if "values" in entry]


def test_a_network_learns_of_each_code_and_takes_it_along(path: Path, tmp_path: Path) -> None:
    options = {"target": "y", "inspect": "none", "default_root_dir": tmp_path, "max_epochs": 10}
    aurocs = {}
    for how in ("hint", "embed"):
        settings = {"data.code_columns": how}
        run = zoo.fit("tabular_net", str(path), settings=settings, **options)
        aurocs[how] = run.metrics["auroc/val"]
    assert aurocs["embed"] > aurocs["hint"] + 0.02
    rows = pd.DataFrame({"district": [int(pd.read_csv(path).district[0]), 5], "a": [0.5, 0.5]})
    expected = run.model.predict(rows)["probabilities"]
    again = zoo.load_weights(run.folder)
    torch.testing.assert_close(again.predict(rows)["probabilities"], expected)
    assert (expected[0] != expected[1]).all()  # a code that is not known is none of those


def test_it_is_exported(path: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    data = Tabular(str(path), "y", code_columns="embed", bins=4)
    model = zoo.create_model("tabular_net", datamodule=data, hidden_dim=8).eval()
    export_model(model, tmp_path / "net.onnx")
    x = data.splits["test"][0]
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(found, model.task.outputs(model(x)).detach(), atol=1e-5)
