"""Probabilities that come true as often as they say, and what a network does not know."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import zoo
from datamodules.memory import InMemory
from zoo.cards import METADATA_KEY
from zoo.cli.predict import predict_inputs
from zoo.fitted.calibration import calibration_error, describe, fit_calibration, nll


def answers(count=2000, classes=4, sureness=3.0, seed=0):
    """Return logits that are `sureness` times as sure as they are right, and the classes."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=generator)
    target = torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(1)
    return sureness * logits, target


def clusters(seed):
    """Return points of three classes around three corners."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(1200) % 3
    corners = torch.tensor([[4.0, 0.0], [-4.0, 0.0], [0.0, 4.0]])
    return corners[target] + torch.randn(1200, 2, generator=generator), target


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return zoo.fit(
        "multiclass_mlp",
        clusters(0),
        seed=0,
        inspect="none",
        max_epochs=8,
        default_root_dir=tmp_path_factory.mktemp("runs"),
    )


def test_temperature_is_how_much_too_sure_the_logits_are():
    logits, target = answers()
    fitted = fit_calibration(logits, target)

    assert fitted.temperature == pytest.approx(3, rel=0.1)
    assert nll(logits, target, fitted.temperature) < nll(logits, target)
    others, theirs = (part.double() for part in answers(seed=1))
    after = calibration_error(others, theirs.long(), fitted.temperature)
    assert after < calibration_error(others, theirs.long()) / 3


@pytest.mark.parametrize("sureness", [0.2, 1, 5])
@pytest.mark.parametrize("count", [1, 4, 30, 1000])
@pytest.mark.parametrize("binary", [False, True])
def test_likelihood_of_the_validation_data_is_never_lower(count, sureness, binary):
    logits, target = answers(count, 2, sureness)
    logits = (logits[:, 1:] - logits[:, :1] if binary else logits).double()
    fitted = fit_calibration(logits, target)

    assert nll(logits, target, fitted.temperature) <= nll(logits, target)


def test_few_examples_that_are_all_right_make_nobody_sure():
    logits = torch.tensor([[3.0], [-3.0]]).repeat(10, 1)

    assert fit_calibration(logits, logits.squeeze(1) > 0).temperature > 0.7


def test_score_keeps_95_percent_and_knows_neither_low_nor_strange_logits():
    logits, target = answers(4000)
    fitted = fit_calibration(logits, target)

    assert describe(fitted, logits, target)["known"] == pytest.approx(0.95, abs=0.001)
    assert describe(fitted, *answers(4000, seed=1))["known"] == pytest.approx(0.95, abs=0.02)
    assert fitted.unknown(torch.full((1, 4), -30.0)).all()
    assert fitted.unknown(torch.full((1, 4), 30.0)).all()


def test_sure_answers_to_yes_or_no_are_known_but_none_beyond_all_others():
    logits, target = answers(2000, 2)
    logits = logits[:, 1:] - logits[:, :1]
    fitted = fit_calibration(logits, target)

    assert not fitted.unknown(torch.stack([logits.max(0).values, logits.min(0).values])).any()
    assert fitted.unknown(torch.tensor([[0.0], [3e3], [-3e3]])).all()


def test_logits_that_are_no_numbers_are_not_calibrated():
    assert fit_calibration(torch.tensor([[float("nan")], [1.0]]), torch.tensor([0, 1])) is None


def test_fit_calibrates_and_the_card_tells(run):
    told = run.card.calibration

    assert run.model.calibration.temperature == told["temperature"]
    for split in ("val", "test"):
        assert set(told[split]) >= {"nll", "ece"}
    assert told["val"]["nll"][1] <= told["val"]["nll"][0]
    assert "calibration " in str(run)


def test_calibration_travels_with_the_weights_and_leaves_logits_alone(run):
    again = zoo.load_weights(run.folder)
    x, _ = clusters(1)

    assert again.calibration == run.model.calibration
    with torch.no_grad():
        logits = again(x)
        expected = (logits / again.calibration.temperature).softmax(-1)
    torch.testing.assert_close(again.predict(x)["probabilities"], expected)
    again.calibration = None
    with torch.no_grad():
        assert torch.equal(again(x), logits)


def test_a_new_head_and_another_training_forget_it(run):
    model = zoo.load_weights(run.folder)
    model.reset_head(5)
    assert model.calibration is None

    model = zoo.load_weights(run.folder)
    zoo_trainer().fit(model, datamodule=InMemory(*clusters(0)))
    assert model.calibration is None


def zoo_trainer():
    from lightning.pytorch import Trainer

    return Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
    )


@pytest.mark.parametrize(
    "calibration",
    [
        {"temperature": 0},
        {"temperature": "Infinity"},
        {"temperature": [1]},
        {"familiarity": None},
        {"temperature": 1, "familiarity": {"threshold": 0.5, "means": [[1.0, 2.0]]}},
        {"temperature": 1, "familiarity": {"threshold": 0.5, "energy_scale": -1}},
        {"temperature": 1, "familiarity": {"command": "rm"}},
        "hot",
    ],
)
def test_damaged_calibration_is_refused(run, tmp_path, calibration):
    from safetensors import safe_open

    source = run.folder / "weights.safetensors"
    with safe_open(source, "pt") as file:
        described = json.loads(file.metadata()[METADATA_KEY])
    described["fitted"] = {"calibration": calibration}
    copy = tmp_path / "copy.safetensors"
    save_file(load_file(source), copy, {METADATA_KEY: json.dumps(described)})

    with pytest.raises(zoo.UserError, match=r"copy.safetensors.* is damaged"):
        zoo.load_weights(copy)


def test_predict_says_unknown_and_what_it_is_like(run, tmp_path, capsys):
    points = tmp_path / "points.csv"
    points.write_text("4,0\n0,-1\n")  # in the middle of a class, and between two
    model = zoo.load_weights(run.folder)
    predict_inputs(model, [str(points)])
    known, unknown = capsys.readouterr().out.splitlines()[-2:]

    assert "unknown" in unknown
    assert "unknown" not in known
    predict_inputs(model, [str(points)], "-")
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.endswith(",unknown")
    assert [row.rpartition(",")[2] for row in rows] == ["False", "True"]
