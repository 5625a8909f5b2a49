"""The documents' losses, by name, all on logits.

Where a document puts sigmoid, softmax or log_softmax into `forward` and pairs it with BCELoss or
NLLLoss, the network here returns logits and the loss applies the activation: the same mathematics,
numerically stable, and legal under mixed precision. `bce` and `nll` are the documents' own forms,
`bce_with_logits` and `cross_entropy` the fused ones; a parity test shows that they are equal.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.learning import LOSSES_OF_TASK, Learning, OutputActivation

LossFunction = Callable[[Tensor, Tensor], Tensor]

_ACTIVATIONS: dict[OutputActivation, Callable[[Tensor], Tensor]] = {
    "none": lambda logits: logits,
    "sigmoid": torch.sigmoid,
    "softmax": lambda logits: torch.softmax(logits, dim=-1),
}


def build_loss(
    task: str,
    learning: Learning | None = None,
    *,
    class_weights: Tensor | None = None,
    smooth: bool = True,
) -> LossFunction:
    """Return `loss(logits, target) -> scalar`, the mean over a batch.

    Args:
        task: `binary`, `multiclass` or `regression`; decides the form of the targets.
        learning: Which loss, and its options; the task's default one if None.
        class_weights: For classification: weights of shape (classes,), two of them if binary; an
            example counts as if it were there as many times as its class weighs.
        smooth: Whether labels are smoothed, as they are in training alone.

    Raises:
        LossDoesNotFit: If the loss, or an option of it, does not fit the task.
    """
    learning = learning or Learning()
    learning.check_task(task)
    name = learning.loss or LOSSES_OF_TASK[task][0]
    activate = _ACTIVATIONS[learning.output_activation]
    if task == "multiclass":
        return _multiclass(name, activate, learning.label_smoothing * smooth, class_weights)
    if task == "binary":
        return _binary(name, activate, class_weights)
    compare = _elementwise(name, activate)
    return lambda logits, target: compare(logits, target.reshape(logits.shape), "mean")


def _multiclass(
    name: str,
    activate: Callable[[Tensor], Tensor],
    label_smoothing: float,
    class_weights: Tensor | None,
) -> LossFunction:
    compare: Callable[..., Tensor]
    if name == "cross_entropy":
        compare = partial(F.cross_entropy, label_smoothing=label_smoothing)
    elif name == "nll":
        compare = _nll
    elif name == "kl_div":
        compare = _kl_div
    else:
        elementwise = _elementwise(name, activate)

        def of_one_hot(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
            one_hot = F.one_hot(target, logits.shape[-1]).to(logits.dtype)
            values = elementwise(logits, one_hot, reduction)
            return values if reduction == "mean" else values.mean(dim=-1)

        compare = of_one_hot

    if class_weights is None:
        return compare
    # Not by the weight of torch's losses: with label smoothing it weighs the share that every class
    # has in every target too, and the rarest class is predicted always (pytorch issue 104776).
    return lambda logits, target: weighted_mean(
        compare(logits, target, reduction="none"), class_weights[target]
    )


def _nll(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    return F.nll_loss(F.log_softmax(logits, dim=-1), target, reduction=reduction)


def _kl_div(logits: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    # The target's entropy is zero, so this equals the cross-entropy.
    one_hot = F.one_hot(target, logits.shape[-1]).to(logits.dtype)
    values = F.kl_div(F.log_softmax(logits, dim=-1), one_hot, reduction="none").sum(dim=-1)
    return values.mean() if reduction == "mean" else values


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of values by example (N,), as if each were there `weights` (N,) times.

    It is 0 where all weights are.
    """
    return (values * weights).sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)


def _binary(
    name: str, activate: Callable[[Tensor], Tensor], class_weights: Tensor | None
) -> LossFunction:
    compare = _elementwise(name, activate)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        target = target.reshape(logits.shape).to(logits.dtype)
        if class_weights is None:
            return compare(logits, target, "mean")
        return weighted_mean(compare(logits, target, "none"), class_weights[target.long()])

    return loss


def _elementwise(
    name: str, activate: Callable[[Tensor], Tensor]
) -> Callable[[Tensor, Tensor, str], Tensor]:
    """Return a loss that gives one value per output, or their mean: `none` or `mean`.

    A mean that torch's loss takes is an operation less, and one less on the way back: of the 450
    microseconds of an update of XOR it saves 16.
    """
    if name == "bce_with_logits":
        return lambda logits, target, reduction: F.binary_cross_entropy_with_logits(
            logits, target, reduction=reduction
        )
    if name == "bce":

        def bce(logits: Tensor, target: Tensor, reduction: str) -> Tensor:
            if logits.dtype.itemsize < 4:  # half precision loses the logs
                logits, target = logits.float(), target.float()
            if not torch.is_autocast_enabled(logits.device.type):
                return F.binary_cross_entropy(torch.sigmoid(logits), target, reduction=reduction)
            with torch.autocast(logits.device.type, enabled=False):  # it would refuse
                return F.binary_cross_entropy(torch.sigmoid(logits), target, reduction=reduction)

        return bce
    function = {"mse": F.mse_loss, "l1": F.l1_loss}[name]
    return lambda logits, target, reduction: function(activate(logits), target, reduction=reduction)
