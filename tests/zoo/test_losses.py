"""The losses on logits equal the documents' own forms: an activation in `forward`, then a loss."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import UserError
from zoo.learning import LOSSES_OF_TASK, Learning
from zoo.losses import LossFunction, build_loss

torch.manual_seed(0)
LOGITS = 3 * torch.randn(16, 4, dtype=torch.float64)
CLASSES = torch.randint(4, (16,))
ONE_HOT = F.one_hot(CLASSES, 4).double()
YES_NO = torch.randint(2, (16,)).double()
VALUES = torch.randn(16, 4, dtype=torch.float64)

# task, loss, output_activation -> the document's form, on what its `forward` would return
DOCUMENTED: dict[tuple[str, str, str], Callable[[], Tensor]] = {
    ("multiclass", "cross_entropy", "none"): lambda: nn.CrossEntropyLoss()(LOGITS, CLASSES),
    ("multiclass", "nll", "none"): lambda: nn.NLLLoss()(F.log_softmax(LOGITS, 1), CLASSES),
    ("multiclass", "kl_div", "none"): lambda: nn.KLDivLoss(reduction="batchmean")(
        F.log_softmax(LOGITS, 1), ONE_HOT
    ),
    ("multiclass", "bce", "none"): lambda: nn.BCELoss()(LOGITS.sigmoid(), ONE_HOT),
    ("multiclass", "bce_with_logits", "none"): lambda: nn.BCEWithLogitsLoss()(LOGITS, ONE_HOT),
    ("multiclass", "mse", "softmax"): lambda: nn.MSELoss()(LOGITS.softmax(1), ONE_HOT),
    ("multiclass", "mse", "sigmoid"): lambda: nn.MSELoss()(LOGITS.sigmoid(), ONE_HOT),
    ("multiclass", "mse", "none"): lambda: nn.MSELoss()(LOGITS, ONE_HOT),
    ("multiclass", "l1", "softmax"): lambda: nn.L1Loss()(LOGITS.softmax(1), ONE_HOT),
    ("binary", "bce", "none"): lambda: nn.BCELoss()(LOGITS[:, 0].sigmoid(), YES_NO),
    ("binary", "bce_with_logits", "none"): lambda: nn.BCEWithLogitsLoss()(LOGITS[:, 0], YES_NO),
    ("binary", "mse", "sigmoid"): lambda: nn.MSELoss()(LOGITS[:, 0].sigmoid(), YES_NO),
    ("binary", "l1", "none"): lambda: nn.L1Loss()(LOGITS[:, 0], YES_NO),
    ("regression", "mse", "none"): lambda: nn.MSELoss()(LOGITS, VALUES),
    ("regression", "l1", "none"): lambda: nn.L1Loss()(LOGITS, VALUES),
}


def loss_of(task: str, name: str, weights: Tensor | None = None, **options: Any) -> LossFunction:
    return build_loss(task, Learning(loss=name, **options), class_weights=weights)


def inputs(task: str) -> tuple[Tensor, Tensor]:
    return {
        "multiclass": (LOGITS, CLASSES),
        "binary": (LOGITS[:, :1], YES_NO),
        "regression": (LOGITS, VALUES),
    }[task]


@pytest.mark.parametrize(("task", "name", "activation"), DOCUMENTED)
def test_equals_the_documents_form(task: str, name: str, activation: str) -> None:
    loss = loss_of(task, name, output_activation=activation)
    expected = DOCUMENTED[task, name, activation]()
    torch.testing.assert_close(loss(*inputs(task)), expected, rtol=1e-12, atol=1e-12)


def test_every_loss_is_compared_with_a_document() -> None:
    compared = {(task, name) for task, name, _ in DOCUMENTED}
    for task, names in LOSSES_OF_TASK.items():
        assert {name for t, name in compared if t == task} >= set(names) - {"mse", "l1"}


@pytest.mark.parametrize(("task", "name"), [(t, n) for t, ns in LOSSES_OF_TASK.items() for n in ns])
def test_gradients_are_finite_far_from_zero(task: str, name: str) -> None:
    # BCELoss of a sigmoid that has saturated: the reason for working on logits.
    logits, target = inputs(task)
    for scale in (50, -50):
        far = (scale * logits.float()).requires_grad_()
        loss = loss_of(task, name)(far, target.float() if task != "multiclass" else target)
        loss.backward()
        assert loss.isfinite()
        assert far.grad.isfinite().all()


@pytest.mark.parametrize(("task", "name"), [(t, n) for t, ns in LOSSES_OF_TASK.items() for n in ns])
def test_every_loss_works_in_mixed_precision(task: str, name: str) -> None:
    logits, target = inputs(task)
    target = target.float() if task != "multiclass" else target
    exact = loss_of(task, name)(logits.float(), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = loss_of(task, name)(logits.bfloat16(), target)
    torch.testing.assert_close(mixed.float(), exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", ["cross_entropy", "nll"])
def test_class_weights_are_those_of_torch(name: str) -> None:
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    loss = loss_of("multiclass", name, weights=weights)
    torch.testing.assert_close(
        loss(LOGITS, CLASSES), nn.CrossEntropyLoss(weight=weights)(LOGITS, CLASSES)
    )


def test_class_weights_mean_the_same_in_every_loss() -> None:
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    weighted = loss_of("multiclass", "kl_div", weights=weights)(LOGITS, CLASSES)
    torch.testing.assert_close(
        weighted, nn.CrossEntropyLoss(weight=weights)(LOGITS, CLASSES), rtol=1e-12, atol=1e-12
    )
    # Binary: as if the examples of a class were there as many times as its weight says.
    twice = loss_of("binary", "bce", weights=torch.tensor([1.0, 2.0]).double())
    yes = YES_NO == 1
    repeated = loss_of("binary", "bce")(
        torch.cat([LOGITS[:, :1], LOGITS[yes, :1]]), torch.cat([YES_NO, YES_NO[yes]])
    )
    torch.testing.assert_close(twice(LOGITS[:, :1], YES_NO), repeated)


def test_label_smoothing_is_that_of_torch() -> None:
    loss = loss_of("multiclass", "cross_entropy", label_smoothing=0.1)
    torch.testing.assert_close(
        loss(LOGITS, CLASSES), nn.CrossEntropyLoss(label_smoothing=0.1)(LOGITS, CLASSES)
    )


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UserError, match=r"loss nll.*binary.*bce_with_logits"):
        loss_of("binary", "nll")
    with pytest.raises(UserError, match=r"label_smoothing belongs to cross_entropy"):
        loss_of("multiclass", "mse", label_smoothing=0.1)
