"""Which epoch of a classifier on few rows is the best."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import zoo
from zoo.callbacks.calibrated_loss import CalibratedNLL
from zoo.fitted.calibration import nll


def test_answers_that_are_too_sure_alike_cost_nothing() -> None:
    torch.manual_seed(0)
    logits = torch.randn(200, 3)
    target = torch.distributions.Categorical(logits=logits).sample()
    losses = []
    for scale in (1, 5):
        metric = CalibratedNLL()
        for part in range(2):  # as batches or processes give them
            metric.update((scale * logits[part::2]).softmax(-1), target[part::2])
        losses.append(float(metric.compute()))
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    assert losses[0] == pytest.approx(nll(logits, target), abs=0.02)
    assert nll(5 * logits, target) > 2 * losses[0]


def test_a_binary_network_counts_as_two_classes() -> None:
    yes = torch.tensor([0.9, 0.2, 0.6, 0.999999])
    target = torch.tensor([1, 0, 0, 1])
    metric, of_two = CalibratedNLL(), CalibratedNLL()
    metric.update(yes, target)
    of_two.update(torch.stack([1 - yes, yes], dim=1), target)
    assert float(metric.compute()) == pytest.approx(float(of_two.compute()), abs=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("is_number", "chosen_by"), [(False, "calibrated_loss/val"), (True, "loss/val")]
)
def test_a_table_is_stopped_and_selected_by_it(
    tmp_path: Path, is_number: bool, chosen_by: str
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    score = x[:, 0] + rng.normal(size=200)
    y = score if is_number else np.where(score > 0, "yes", "no")
    frame = pd.DataFrame(x, columns=list("abc")).assign(y=y)
    run = zoo.fit("tabular_net", frame, target="y", inspect="none", default_root_dir=tmp_path)
    assert run.kept.endswith(f"the best by {chosen_by}")
    assert "calibrated_loss/val" not in run.metrics, "what is measured at the end has one loss"
    kept = int(run.kept.split(",")[0].removeprefix("epoch "))
    assert run.epochs == min(kept + 12, 40), "12 epochs are waited for"
