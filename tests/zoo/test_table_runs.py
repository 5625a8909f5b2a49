"""A table's training from end to end: what is fitted, told and kept besides the weights."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

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
