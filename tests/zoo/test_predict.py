"""From a CSV to predictions on another one, through the front end."""

import io
import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from datamodules import Tabular
from datamodules.tabular.encode import encode_frame
from zoo import UserError, load_weights
from zoo.architectures import FeedForward
from zoo.preprocessing import read_the_same
from zoo.recipe import list_models
from zoo.registry import create_datamodule, create_model
from zoo.weights import save_weights

N = 120


@pytest.fixture
def people():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, N).astype(float),
            "city": rng.choice(["Rome", "Oslo", "Köln, old town"], N),
            "joined": pd.date_range("2020-01-01", periods=N, freq="3D").strftime("%d.%m.%Y"),
        }
    )
    frame["left"] = np.where(frame["age"] + 20 * (frame["city"] == "Rome") > 55, "yes", "no")
    frame.loc[::9, "age"] = np.nan
    return frame


def trained(data, tmp_path, steps=60):
    data.setup()
    torch.manual_seed(0)
    model = FeedForward(data.spec, hidden_dim=32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    x, y = data.splits["train"]
    for _ in range(steps):
        loss = model.loss(model.logits(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_weights(model.eval(), tmp_path / "w.safetensors")
    return model


@pytest.fixture
def weights(people, tmp_path):
    people.to_csv(tmp_path / "people.csv", index=False)
    trained(Tabular(str(tmp_path / "people.csv"), "left"), tmp_path)
    return tmp_path / "w.safetensors"


def test_predictions_stand_beside_the_input(run_cli, weights, people, tmp_path):
    new = people.drop(columns="left")[["joined", "city", "age"]].assign(note='said "hi", left')
    new.to_csv("new.csv", index=False)
    result = run_cli("predict", "--weights", weights, "--input", "new.csv", "--output", "out.csv")
    assert (result.status, result.out) == (0, "")
    assert "120 rows with predictions written to out.csv" in result.err
    out = pd.read_csv("out.csv")
    pd.testing.assert_frame_equal(out[new.columns], pd.read_csv("new.csv"))
    assert list(out.columns[-3:]) == ["prediction", "probability_no", "probability_yes"]
    assert (out["prediction"] == people["left"]).mean() > 0.8
    np.testing.assert_allclose(out["probability_no"] + out["probability_yes"], 1, atol=1e-5)


def test_the_network_alone_knows_how_to_read_the_table(weights):
    preprocessing = load_weights(weights).spec.preprocessing
    assert [c["name"] for c in preprocessing["columns"]] == ["age", "city", "joined"]
    assert json.loads(json.dumps(preprocessing)) == preprocessing


def test_standard_streams(run_cli, weights, people, monkeypatch):
    text = people.iloc[:5].to_csv(index=False)
    stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    result = run_cli("predict", "--weights", weights, "--input", "-", "--output", "-")
    assert result.status == 0, result.err
    out = pd.read_csv(io.StringIO(result.out))
    assert len(out) == 5
    assert out["city"].tolist() == people["city"].tolist()[:5]


def test_columns_keep_their_names_also_none_and_doubles(run_cli, weights, people, tmp_path):
    people.assign(twice=1).to_csv("new.csv")  # with row numbers under no name, as pandas does
    text = (tmp_path / "new.csv").read_text().replace("left,twice", "left,left", 1)
    (tmp_path / "new.csv").write_text(text)
    result = run_cli("predict", "--weights", weights, "--input", "new.csv", "--output", "o.csv")
    assert result.status == 0, result.err
    first, written = ((tmp_path / n).read_text().splitlines()[0] for n in ("new.csv", "o.csv"))
    assert written == first + ",prediction,probability_no,probability_yes"


def test_several_tables_are_read_one_after_the_other(run_cli, weights, people, tmp_path):
    people[:50].to_csv("part-1.csv", index=False)
    people[50:].iloc[:, ::-1].to_csv("part-2.csv", index=False, sep=";")  # in another order
    people.to_json("all.jsonl", orient="records", lines=True)
    people.to_csv("all.csv", index=False)
    for name in ("part-*.csv", "all.jsonl", "all.csv"):
        out = f"{name[0]}{name[-1]}.csv"
        result = run_cli("predict", "--weights", weights, "--input", name, "--output", out)
        assert result.status == 0, result.err
    pd.testing.assert_frame_equal(pd.read_csv("pv.csv"), pd.read_csv("av.csv"))
    pd.testing.assert_frame_equal(pd.read_csv("al.csv"), pd.read_csv("av.csv"))
    people.assign(more=1).to_csv("part-3.csv", index=False)
    result = run_cli("predict", "--weights", weights, "--input", "part-*.csv")
    assert (result.status, "('more' is in one of them alone)" in result.err) == (2, True)


@pytest.mark.parametrize("options", [["--input", "nothing.csv"], ["--input", "no*.csv"], []])
def test_messages_name_the_options_of_predict(run_cli, weights, people, options):
    people.to_csv("new.csv", index=False)
    wrong = ["--input", "new.csv", "--encoding", "klingon"]
    result = run_cli("predict", "--weights", weights, *(options or wrong))
    assert result.status == 2
    assert ("--input" if options else "--encoding") in result.err
    assert "--data." not in result.err


@pytest.mark.parametrize("rows", [1, 3, 119])
def test_as_many_rows_come_out_as_go_in(run_cli, weights, people, rows, monkeypatch):
    monkeypatch.setattr("zoo.cli.predict.CHUNK", 7)
    new = people.iloc[:rows].astype(object)
    new.iloc[0] = [None, "Atlantis", "not a date", None]
    new.to_csv("new.csv", index=False, sep=";")
    assert (
        run_cli("predict", "--weights", weights, "--input", "new.csv", "--output", "o.csv").status
        == 0
    )
    assert len(pd.read_csv("o.csv", sep=";")) == rows


def test_missing_columns_are_named(run_cli, weights, people):
    people.drop(columns="city").rename(columns={"age": "Age"}).to_csv("new.csv", index=False)
    result = run_cli("predict", "--weights", weights, "--input", "new.csv", "--output", "out.csv")
    assert result.status == 2
    assert "new.csv lacks 2 of the 3 columns" in result.err
    assert "'age' (is it 'Age'?), 'city'" in result.err


def test_an_input_with_predictions_in_it_keeps_them(run_cli, weights, people):
    people.assign(prediction="mine").to_csv("new.csv", index=False)
    assert (
        run_cli("predict", "--weights", weights, "--input", "new.csv", "--output", "o.csv").status
        == 0
    )
    out = pd.read_csv("o.csv")
    assert set(out["prediction"]) == {"mine"}
    assert set(out["prediction_new"]) == {"no", "yes"}


def test_a_damaged_input_leaves_no_output(run_cli, weights, people, tmp_path):
    text = people.to_csv(index=False) + "1,2\n"
    (tmp_path / "new.csv").write_text(text)
    result = run_cli("predict", "--weights", weights, "--input", "new.csv", "--output", "o.csv")
    assert result.status == 2
    assert "new.csv, line 122: 2 fields where 4 are expected; mend the line." in result.err
    assert not (tmp_path / "o.csv").exists()
    assert not list(tmp_path.glob(".predictions*"))


def test_the_input_is_never_overwritten(run_cli, weights, people, tmp_path):
    people.to_csv("new.csv", index=False)
    before = (tmp_path / "new.csv").read_bytes()
    result = run_cli("predict", "--weights", weights, "--input", "new.csv", "--output", "./new.csv")
    assert (result.status, "is the input itself" in result.err) == (2, True)
    assert (tmp_path / "new.csv").read_bytes() == before


@pytest.mark.parametrize("output", ["no/such/folder/o.csv", "."])
def test_an_output_that_cannot_be_written(run_cli, weights, people, output):
    people.to_csv("new.csv", index=False)
    result = run_cli("predict", "--weights", weights, "--input", "new.csv", "--output", output)
    assert result.status == 2
    assert "--output" in result.err


def test_a_file_without_a_header(run_cli, people, tmp_path):
    people.to_csv(tmp_path / "bare.csv", index=False, header=False)
    trained(Tabular(str(tmp_path / "bare.csv"), -1), tmp_path)
    people.drop(columns="left").to_csv("new.csv", index=False, header=False)
    result = run_cli(
        "predict", "--weights", "w.safetensors", "--input", "new.csv", "--output", "o.csv"
    )
    assert result.status == 0
    assert len((tmp_path / "o.csv").read_text().splitlines()) == N


def test_a_regression_predicts_in_its_own_units(run_cli, people, tmp_path):
    people["price"] = 1e6 + 5e4 * np.nan_to_num(people["age"], nan=50)
    people.to_csv(tmp_path / "p.csv", index=False)
    trained(Tabular(str(tmp_path / "p.csv"), "price", drop=["left"]), tmp_path, steps=200)
    result = run_cli(
        "predict", "--weights", "w.safetensors", "--input", "p.csv", "--output", "o.csv"
    )
    assert result.status == 0
    out = pd.read_csv(tmp_path / "o.csv")
    assert np.corrcoef(out["price"], out["prediction"])[0, 1] > 0.95
    assert 1.5e6 < out["prediction"].mean() < 5e6


def test_a_table_given_to_a_network_that_reads_pictures_is_no_picture(run_cli, people):
    people.to_csv("x.csv", index=False)
    result = run_cli("predict", "--weights", "mnist_net", "--input", "x.csv")
    assert result.status == 2
    assert "'x.csv' is no picture" in result.err


def test_fit_then_predict_on_a_csv(run_cli, people, tmp_path):
    people.to_csv("people.csv", index=False)
    data = ["--data", "csv", "--data.path", "people.csv", "--data.target", "left"]
    fit = run_cli("fit", "--model", "tabular_mlp", *data, "--trainer.max_epochs", "2")
    assert fit.status == 0, fit.err
    assert "people.csv: 120 rows, 4 columns" in fit.out
    run = tmp_path / "runs" / "tabular_mlp" / "version_0"
    assert (
        run_cli("predict", "--weights", run, "--input", "people.csv", "--output", "o.csv").status
        == 0
    )
    assert len(pd.read_csv("o.csv")) == N


def test_unbalanced_classes_are_judged_by_auroc_and_f1_first(run_cli, people):
    people["left"] = np.where(np.arange(N) % 10 == 0, "yes", "no")
    people.to_csv("people.csv", index=False)
    data = ["--data.path", "people.csv", "--data.target", "left"]
    fit = run_cli("fit", "--model", "tabular_mlp", *data, "--trainer.max_epochs", "1")
    assert fit.status == 0, fit.err
    table = fit.out[fit.out.index("\n\n") :]
    assert table.index("auroc") < table.index("f1") < table.index("accuracy")


def test_the_profile_stands_in_tensorboard_as_text(run_cli, people, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    people.to_csv("people.csv", index=False)
    data = ["--data.path", "people.csv", "--data.target", "left"]
    fit = run_cli("fit", "--model", "tabular_mlp", *data, "--trainer.max_epochs", "1")
    assert fit.status == 0, fit.err
    events = EventAccumulator(str(tmp_path / "runs" / "tabular_mlp" / "version_0")).Reload()
    (text,) = events.Tensors("data/profile/text_summary")
    profile = text.tensor_proto.string_val[0].decode()
    assert "people.csv" in profile
    assert "| city | category | | | Köln, old town, Oslo, Rome |" in profile


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


def told(run_cli, weights, frame, **options):
    """Return what `predict` says on standard error about each column of a table."""
    frame.to_csv("new.csv", index=False, **options)
    result = run_cli("predict", "--weights", weights, "--input", "new.csv", "--output", "o.csv")
    assert result.status == 0, result.err
    lines = [line for line in result.err.splitlines() if line.startswith("warning: ")]
    assert all(line.startswith("warning: new.csv, column '") for line in lines)
    return {line.split("'")[1]: line for line in lines}


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


# The output is written as the input is


@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_predictions_have_the_decimal_mark_of_the_file(
    run_cli, weights, people, tmp_path, separator
):
    people["age"] += 0.5
    options = {"sep": separator, "decimal": ","}
    for target in ("left", "price"):
        table = people.drop(columns="left") if target == "price" else people
        people.assign(price=1e3 / 7 * people["age"].fillna(50)).to_csv(
            tmp_path / "t.csv", **options
        )
        trained(Tabular("t.csv", target, columns=["age", "city"]), tmp_path)
        told(run_cli, weights, table, **options)
        out = pd.read_csv(tmp_path / "o.csv", **options)
        added = out.columns[len(table.columns) :]
        assert all(out[name].dtype.kind == "f" for name in added if name != "prediction")
        if target == "price":
            assert out["prediction"].dtype.kind == "f"
        np.testing.assert_allclose(out["age"], table["age"])


# Files that are no tables


@pytest.mark.parametrize("kind", ["array", "indented", "columns"])
@pytest.mark.parametrize("name", ["new.json", "new.jsonl", "new.csv"])
def test_json_is_refused_by_name(run_cli, weights, people, tmp_path, kind, name):
    text = {
        "array": people.to_json(orient="records"),
        "indented": people.to_json(orient="records", indent=2),
        "columns": people.to_json(),
    }[kind]
    (tmp_path / name).write_text(text)
    predict = run_cli("predict", "--weights", weights, "--input", name, "--output", "o.csv")
    fit = run_cli("fit", "--model", "tabular_mlp", "--data.path", name, "--data.target", "left")
    for result in (predict, fit):
        assert result.status == 2
        assert f"{name} is JSON, not CSV" in result.err
    assert not (tmp_path / "o.csv").exists()
    assert not (tmp_path / "runs").exists()


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
