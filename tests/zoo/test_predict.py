"""From a CSV to predictions on another one, through the front end."""

import io
import json
import sys

import numpy as np
import pandas as pd
import pytest
from small_table import N, told, trained

from datamodules import Tabular
from zoo import load_weights


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
