"""What a network reads otherwise than it is meant is told; data in memory are read alike."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_table import N, told

from datamodules import Tabular
from datamodules.tabular.encode import encode_frame
from zoo import UserError, load_weights
from zoo.preprocessing import read_the_same
from zoo.recipe import list_models
from zoo.registry import create_datamodule, create_model
from zoo.weights import save_weights


@pytest.mark.parametrize(
    "name", [n for n in list_models("*") if n.startswith(("tabular", "water"))]
)
def test_recipes_for_tables_fit_their_embedded_default(name, monkeypatch, tmp_path):
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="is synthetic"):
        model = create_model(name, datamodule=create_datamodule(name))
    assert model(model.example_input_array).shape == (2, 1)


def test_water_potability_is_the_documents_network(monkeypatch, tmp_path):
    monkeypatch.delenv("ZOO_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="is synthetic"):
        model = create_model("water_potability")
    shapes = [tuple(p.shape) for p in model.parameters()]
    assert shapes == [(2, 4), (2,), (1, 2), (1,)]


# What the network reads otherwise than it is meant


def test_its_own_table_is_like_training(run_cli, weights, people):
    assert told(run_cli, weights, people) == {}


def test_cells_unlike_training_are_counted_column_by_column(run_cli, weights, people, monkeypatch):
    monkeypatch.setattr("zoo.cli.predict.CHUNK", 50)
    new = people.astype(object)
    new["age"] = [44, 1e9, *["old"] * (N - 2)]
    new["city"] = "Atlantis"
    new.loc[60:62, "joined"] = ["yesterday", "01.01.1066", None]
    found = told(run_cli, weights, new)
    assert list(found) == ["age", "city", "joined"]
    mean = np.nanmean(people["age"])
    assert "118 of 120 rows hold no number (the first: 'old' in row 3), read as" in found["age"]
    assert float(found["age"].split("read as missing (")[1].split(")")[0]) == pytest.approx(
        mean, 0.1
    )
    assert "1 of 120 rows hold a value far outside training (18 to 79) (the first: '1000000000.0' "
    assert "in row 2), read as at least" in found["age"]
    assert (
        "120 of 120 rows hold a category that the network does not know (the first: 'Atlantis' in "
        "row 1), read as unknown" in found["city"]
    )
    assert (
        "1 of 120 rows hold no date as in training (the first: 'yesterday' in row 61)"
        in (found["joined"])
    )
    assert (
        "1 of 120 rows hold a value far outside training (the first: '01.01.1066' in row 62)"
        in (found["joined"])
    )
    assert "1 of 120 rows hold nothing (the first: row 63; none of the" in found["joined"]


@pytest.mark.parametrize("age", ["1,000", "20 years", "1e400", "1e300", "inf"])
def test_a_number_in_another_notation_is_not_passed_over(run_cli, weights, people, age):
    new = people.astype(object)
    new.loc[7, "age"] = age
    assert "1 of 120 rows hold" in told(run_cli, weights, new)["age"]
    assert "in row 8" in told(run_cli, weights, new)["age"]


def test_a_column_without_a_value_is_told_though_training_lacked_some(run_cli, weights, people):
    found = told(run_cli, weights, people.assign(age=np.nan))["age"]
    assert "120 of 120 rows hold nothing (the first: row 1; 1" in found


def test_weights_of_before_know_mean_and_deviation_alone(run_cli, weights, people, tmp_path):
    model = load_weights(weights)
    for entry in model.spec.preprocessing["numeric"]:
        del entry["low"], entry["high"]
    save_weights(model, tmp_path / "old.safetensors")
    assert told(run_cli, "old.safetensors", people) == {}
    assert read_the_same(model.spec.preprocessing, Tabular("people.csv", "left").preprocessing)
    new = people.assign(age=people["age"].replace(people["age"][1], 1e6))
    assert "far outside training (" in told(run_cli, "old.safetensors", new)["age"]


# Data in memory


def test_arrays_and_tensors_in_memory() -> None:
    model = create_model("mnist_net", pretrained=True)
    images = torch.randint(256, (5, 1, 28, 28), dtype=torch.uint8)
    expected = model.predict_step(images)
    for data in (images, images.numpy(), images[:, 0].numpy(), images.long(), images / 255):
        found = model.predict(data)
        assert found["prediction"] == expected["prediction"]
        torch.testing.assert_close(found["probabilities"], expected["probabilities"])
    model.train()
    assert model.predict(images)["prediction"] == expected["prediction"]
    assert model.training
    with pytest.raises(UserError, match=r"shape \(1, 28, 28\): .* have \(5, 20, 20\)"):
        model.predict(torch.rand(5, 20, 20))
    xor = create_model("xor_mlp", pretrained=True)
    assert xor.predict([[0, 0], [0, 1], [1, 0], [1, 1]])["prediction"] == list("0110")


def test_a_dataframe_in_memory_is_read_as_its_file(people, weights, tmp_path):
    model, frame = load_weights(weights), pd.read_csv(tmp_path / "people.csv")
    found = model.predict(frame[sorted(frame.columns)].drop(columns="left"))
    rows = encode_frame(frame, model.spec.preprocessing)
    assert found["prediction"] == model.predict_step(rows)["prediction"]
    assert model.predict(frame.to_dict("records"))["prediction"] == found["prediction"]
    with pytest.raises(UserError, match="age"):
        model.predict(frame.drop(columns="age"))


@pytest.mark.filterwarnings("ignore")
def test_sentences_in_memory() -> None:
    model = create_model("sentiment_bilstm")
    found = model.predict(["The film was superb.", "The plot was dull."])
    assert set(found["prediction"]) <= {"negative", "positive"}
    assert found["probabilities"].shape == (2, 2)
    assert model.predict("The plot was dull.")["prediction"] == found["prediction"][1:]
    with pytest.raises(UserError, match="reads sentences"):
        model.predict([1, 2])
