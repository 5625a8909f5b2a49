"""A table's training from end to end: what is fitted, told and kept besides the weights."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from zoo import load_weights

N = 400


@pytest.fixture
def fit(run_cli, tmp_path):
    """Train a small network on a table; return what was printed, and the run's folder."""

    def train(frame, target, *options, name="run", epochs=3, model="tabular_mlp"):
        frame.to_csv(tmp_path / "t.csv", index=False)
        arguments = ["--model", model, "--data.path", "t.csv", "--data.target", target]
        limits = ["--trainer.max_epochs", epochs, "--name", name, "--inspect", "none"]
        result = run_cli("fit", *arguments, *limits, *options)
        assert result.status == 0, result.err
        return result.out, tmp_path / "runs" / model / name

    return train


def people(rare=0.3, rows=N):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3))
    score = 2 * x[:, 0] + x[:, 1] + 0.5 * rng.normal(size=rows)
    frame = pd.DataFrame(x, columns=["strong", "weak", "noise"])
    frame["city"] = rng.choice(["Rome", "Oslo"], rows)
    return frame.assign(
        y=np.where(score > np.quantile(score, 1 - rare), "yes", "no"), value=100 + 10 * score
    )


def card_of(run: Path) -> dict:
    return json.loads((run / "card.json").read_text())


def test_all_rows_train_if_asked_to(fit, run_cli, tmp_path):
    stop = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "loss/val"},
    }
    (tmp_path / "stop.yaml").write_text(json.dumps({"trainer": {"callbacks": [stop]}}))
    options = ["--data.val_size", 0, "--data.test_size", 0, "--config", "stop.yaml"]
    out, run = fit(people().drop(columns="value"), "y", *options)
    assert "Nothing is validated" in out
    assert "weights of   epoch 3, the last" in out
    card = card_of(run)
    assert card["split_sizes"] == {"train": N, "val": 0, "test": 0}
    assert {key.partition("/")[2] for key in card["metrics"]} == {"train"}
    assert run_cli("predict", "--weights", run, "--input", "t.csv", "--output", "o").status == 0
    result = run_cli("evaluate", run)
    assert (result.status, "was trained without a test split" in result.err) == (2, True)


# Decisions


def test_of_rare_cases_the_threshold_is_that_of_the_best_f1(fit, run_cli, tmp_path):
    rare = people(rare=0.06, rows=3000).drop(columns="value")
    rare.loc[::7, "y"] = np.where(np.random.default_rng(1).random(429) < 0.06, "yes", "no")
    out, run = fit(rare, "y")
    decision = card_of(run)["decision"]
    assert (decision["rule"], 0 < decision["threshold"] < 0.5) == ("f1", True)
    assert decision["val"]["f1"][1] >= decision["val"]["f1"][0]
    assert f"'yes' from probability {decision['threshold']:.4g} on (best F1); test: f1" in out
    assert f"'yes' from probability {decision['threshold']:.4g} on" in run_cli("evaluate", run).out
    # What predict writes, and what a program gets, is by the threshold that the weights carry.
    assert run_cli("predict", "--weights", run, "--input", "t.csv", "--output", "o.csv").status == 0
    table = pd.read_csv(tmp_path / "o.csv")
    expected = np.where(table["probability_yes"] >= decision["threshold"] - 1e-6, "yes", "no")
    assert (table["prediction"] == expected).mean() > 0.999
    assert load_weights(run).predict(rare)["prediction"] == table["prediction"].tolist()
    own = run_cli("evaluate", run, "--data", "t.csv").out
    assert str((table["prediction"] == "yes")[table["y"] == "yes"].sum()) in own.split("yes")[-1]


def test_costs_say_where_the_threshold_is(fit):
    frame = people().drop(columns="value")
    thresholds = {}
    for fn, fp in ((10, 1), (1, 10)):
        out, run = fit(frame, "y", "--data.costs", f"fn={fn},fp={fp}", name=f"c{fn}")
        decision = card_of(run)["decision"]
        assert decision["val"]["cost"][1] <= decision["val"]["cost"][0]
        assert f"(costs fn={fn}, fp={fp}); test: mean cost" in out
        thresholds[fn] = decision["threshold"]
    assert thresholds[10] < thresholds[1]


def test_without_validation_costs_are_weighed_as_honest_probabilities_ask(fit):
    frame = people().drop(columns="value")
    _, run = fit(frame, "y", "--data.val_size", 0, "--data.costs", "fn=3,fp=1")
    assert card_of(run)["decision"]["threshold"] == 0.25
    _, run = fit(frame, "y", "--data.val_size", 0, name="without")
    assert card_of(run)["decision"] == {}


def test_intervals_hold_as_many_as_they_say(fit, run_cli, tmp_path):
    frame = people(rows=3000).drop(columns="y")
    out, run = fit(frame, "value", "--data.interval", 0.9)
    decision = card_of(run)["decision"]
    (coverage,) = decision["test"]["coverage"]
    assert coverage == pytest.approx(0.9, abs=0.04)
    assert f"for 90%; {coverage:.1%} of test rows are inside" in out
    assert f"{coverage:.1%} of test rows are inside" in run_cli("evaluate", run).out
    assert run_cli("predict", "--weights", run, "--input", "t.csv", "--output", "o.csv").status == 0
    table = pd.read_csv(tmp_path / "o.csv")
    assert list(table.columns[-3:]) == ["prediction", "lower", "upper"]
    assert table["value"].between(table["lower"], table["upper"]).mean() > 0.85
    np.testing.assert_allclose(
        table["upper"] - table["prediction"], decision["radius"][0], rtol=1e-4
    )


@pytest.mark.parametrize(
    ("target", "option", "value", "said"),
    [
        ("y", "costs", "fn=10", "does not say what a missed example"),
        ("y", "costs", "fn=0,fp=1", "in numbers above 0"),
        ("y", "interval", 0.9, "--data.interval is for a regression"),
        ("value", "costs", "fn=2,fp=1", "--data.costs is for two classes"),
        ("value", "interval", 90, "is a share between 0 and 1"),
        ("value", "interval", 0.999, "needs 999 validation rows or more, not 60"),
    ],
)
def test_what_cannot_be_decided_is_refused(run_cli, tmp_path, target, option, value, said):
    people().to_csv(tmp_path / "t.csv", index=False)
    data = ["--data.path", "t.csv", "--data.target", target, f"--data.{option}", value]
    result = run_cli("fit", "--model", "tabular_mlp", *data)
    assert (result.status, said in result.err) == (2, True), result.err


# Fine-tuning on another file


def test_fine_tuning_takes_scales_along_and_gives_new_categories_slots(fit, run_cli, tmp_path):
    rng = np.random.default_rng(1)
    first = people(rows=1000).drop(columns="value")
    first["city"] = rng.choice(["Rome", "Oslo"], 1000)
    _, run = fit(first, "y", epochs=8)
    before = load_weights(run)

    # In Bern it is the other way round, which only a slot of its own can learn.
    second = people(rows=1000).drop(columns="value")
    second["city"] = rng.choice(["Rome", "Bern"], 1000)
    other = {"yes": "no", "no": "yes"}
    second["y"] = second["y"].where(second["city"] != "Bern", second["y"].map(other))
    out, tuned = fit(second, "y", "--weights", run, name="tuned", epochs=15)
    assert f"weights of {run}: backbone and head; slots for 1 new categories: city 'Bern'" in out
    after = load_weights(tuned)
    numeric = [m.spec.preprocessing["numeric"] for m in (before, after)]
    assert numeric[0] == numeric[1]
    assert after.spec.preprocessing["categorical"][0]["vocabulary"] == ["Oslo", "Rome", "Bern"]
    predicted = np.array(after.predict(second)["prediction"])
    hit = predicted == second["y"]
    assert hit[second["city"] == "Bern"].mean() > 0.75
    # It goes on from what it knew: at first it answers as before.
    frame = second.assign(city="Oslo")
    _, start = fit(second, "y", "--weights", run, "--optimizer.lr", 1e-12, name="at_first")
    probabilities = [load_weights(r).eval()(_rows(r, frame)) for r in (run, start)]
    np.testing.assert_allclose(*(p.detach().numpy() for p in probabilities), atol=1e-4)


def _rows(run, frame):
    from datamodules.tabular.encode import encode_frame

    return encode_frame(frame, load_weights(run).spec.preprocessing)


def test_a_fine_tuned_regression_keeps_its_head_and_units(fit):
    frame = people(rows=1000).drop(columns="y")
    _, run = fit(frame, "value")
    out, tuned = fit(
        frame[:500].assign(value=frame["value"] + 3), "value", "--weights", run, name="b"
    )
    assert "backbone and head" in out
    assert load_weights(tuned).target_mean == load_weights(run).target_mean


def test_pretrained_with_a_run_names_the_option_for_it(run_cli):
    result = run_cli("fit", "--model", "water_potability", "--pretrained", "runs/x/version_0")
    assert result.status == 2
    assert "To start from others: --weights runs/x/version_0" in result.err


# What the network goes by


@pytest.mark.parametrize("target", ["y", "value"])
def test_columns_are_ranked_by_what_shuffling_them_costs(fit, tmp_path, target):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    frame = people(rows=2000).drop(columns="value" if target == "y" else "y")
    frame["since"] = pd.date_range("2020-01-01", periods=2000).strftime("%Y-%m-%d")
    out, run = fit(frame, target, "--inspect", "basic", epochs=8)
    importance = card_of(run)["importance"]
    assert list(importance)[:2] == ["strong", "weak"]
    assert set(importance) == {"strong", "weak", "noise", "city", "since"}
    assert importance["strong"] > 2 * importance["weak"] > 20 * abs(importance["noise"])
    assert f"importance   strong {importance['strong']:.3g}, weak" in out
    events = EventAccumulator(str(run), size_guidance={"images": 0}).Reload()
    assert "importance/columns" in events.Tags()["images"]
    (tmp_path / "i.png").write_bytes(events.Images("importance/columns")[0].encoded_image_string)
