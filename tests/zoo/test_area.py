"""The area under ROC curves is torchmetrics', whatever the ties."""

import pytest
import torch
from torchmetrics.functional.classification import multiclass_auroc

from zoo.area import AreaUnderCurves


@pytest.mark.parametrize("decimals", [1, 2, 7], ids="{} decimals".format)
def test_it_is_the_area_of_torchmetrics(decimals: int) -> None:
    generator = torch.Generator().manual_seed(decimals)
    target = torch.randint(5, (400,), generator=generator)
    logits = torch.randn(400, 5, generator=generator)
    logits[torch.arange(400), target] += 1
    scores = logits.softmax(1).round(decimals=decimals).clamp(0, 1)
    metric = AreaUnderCurves(5)
    for part in (slice(150), slice(150, 400)):
        metric.update(scores[part], target[part])
    assert metric.compute().item() == pytest.approx(
        multiclass_auroc(scores, target, 5).item(), abs=1e-6
    )


def test_a_tie_is_half_a_pair() -> None:
    metric = AreaUnderCurves(2)
    scores = torch.tensor([0.25, 0.5, 0.5, 0.75])
    metric.update(torch.stack([1 - scores, scores], 1), torch.tensor([0, 0, 1, 1]))
    assert metric.compute().item() == 3.5 / 4


@pytest.mark.filterwarnings("ignore")
def test_a_class_without_examples_counts_as_torchmetrics_counts_it() -> None:
    scores, target = torch.eye(3)[[0, 1, 0]], torch.tensor([0, 1, 1])
    metric = AreaUnderCurves(3)
    metric.update(scores, target)
    assert metric.compute() == multiclass_auroc(scores, target, 3)
