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


WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("task", "name"), [(t, n) for t in ("binary", "multiclass") for n in LOSSES_OF_TASK[t]]
)
def test_a_class_of_weight_2_counts_as_if_its_examples_were_there_twice(
    task: str, name: str
) -> None:
    logits, target = inputs(task)
    smoothing = {"label_smoothing": 0.1} if name == "cross_entropy" else {}
    weights = torch.ones(2 if task == "binary" else 4, dtype=torch.float64)
    weights[1] = 2
    weighted = loss_of(task, name, weights=weights, **smoothing)
    again = target == 1
    plain = loss_of(task, name, **smoothing)
    expected = plain(torch.cat([logits, logits[again]]), torch.cat([target, target[again]]))
    torch.testing.assert_close(weighted(logits, target), expected, rtol=1e-12, atol=1e-12)
    equal = loss_of(task, name, weights=torch.full_like(weights, 3), **smoothing)
    torch.testing.assert_close(equal(logits, target), plain(logits, target), rtol=1e-12, atol=1e-12)


def test_smoothing_with_class_weights_becomes_either_of_torchs_without_the_other() -> None:
    def loss(smoothing: float, weights: Tensor | None) -> Tensor:
        options = {"label_smoothing": smoothing, "weights": weights}
        return loss_of("multiclass", "cross_entropy", **options)(LOGITS, CLASSES)

    weighted = nn.CrossEntropyLoss(weight=WEIGHTS)(LOGITS, CLASSES)
    torch.testing.assert_close(loss(0.0, WEIGHTS), weighted)
    torch.testing.assert_close(loss(1e-9, WEIGHTS), weighted)
    smoothed = nn.CrossEntropyLoss(label_smoothing=0.1)(LOGITS, CLASSES)
    torch.testing.assert_close(loss(0.1, torch.ones_like(WEIGHTS)), smoothed)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_balanced_classes_are_equally_likely_where_nothing_tells_them_apart(
    smoothing: float,
) -> None:
    counts = torch.tensor([900, 90, 10])
    target = torch.arange(3).repeat_interleave(counts)
    loss = loss_of(
        "multiclass",
        "cross_entropy",
        label_smoothing=smoothing,
        weights=1000 / (3 * counts.float()),
    )
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss(logits.expand(1000, 3), target).backward()
        optimizer.step()
    # The weight of torch's own loss gives the rarest class 0.66 and 0.80 with 0.1 and 0.3.
    torch.testing.assert_close(logits.softmax(0), torch.full((3,), 1 / 3), rtol=0, atol=0.005)


def test_a_batch_of_classes_that_weigh_nothing_has_no_loss() -> None:
    logits = LOGITS.clone().requires_grad_()
    weights = torch.tensor([0.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    loss = loss_of("multiclass", "cross_entropy", weights=weights)
    value = loss(logits, torch.zeros_like(CLASSES))
    value.backward()
    assert value == 0
    assert (logits.grad == 0).all()


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
