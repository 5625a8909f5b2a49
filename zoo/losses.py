"""The documents' losses, by name, all on logits.

Where a document puts sigmoid, softmax or log_softmax into `forward` and pairs it with BCELoss or
NLLLoss, the network here returns logits and the loss applies the activation: the same mathematics,
numerically stable, and legal under mixed precision. `bce` and `nll` are the documents' own forms,
`bce_with_logits` and `cross_entropy` the fused ones; a parity test shows that they are equal.
"""

from collections.abc import Callable

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
        class_weights: For classification: weights of shape (classes,), two of them if binary.
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
    return lambda logits, target: compare(logits, target.reshape(logits.shape)).mean()


def _multiclass(
    name: str,
    activate: Callable[[Tensor], Tensor],
    label_smoothing: float,
    class_weights: Tensor | None,
) -> LossFunction:
    if name == "cross_entropy":
        return lambda logits, target: F.cross_entropy(
            logits, target, weight=class_weights, label_smoothing=label_smoothing
        )
    if name == "nll":
        return lambda logits, target: F.nll_loss(
            F.log_softmax(logits, dim=-1), target, weight=class_weights
        )
    if name == "kl_div":
        # The target's entropy is zero, so this equals the cross-entropy.
        def per_example(logits: Tensor, one_hot: Tensor) -> Tensor:
            divergence = F.kl_div(F.log_softmax(logits, dim=-1), one_hot, reduction="none")
            return divergence.sum(dim=-1, keepdim=True)
    else:
        per_example = _elementwise(name, activate)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        one_hot = F.one_hot(target, logits.shape[-1]).to(logits.dtype)
        values = per_example(logits, one_hot)
        if class_weights is None:
            return values.mean()
        weights = class_weights[target].unsqueeze(-1)
        return (values * weights).mean() / weights.mean()

    return loss


def _binary(
    name: str, activate: Callable[[Tensor], Tensor], class_weights: Tensor | None
) -> LossFunction:
    compare = _elementwise(name, activate)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        target = target.reshape(logits.shape).to(logits.dtype)
        values = compare(logits, target)
        if class_weights is None:
            return values.mean()
        weights = class_weights[target.long()]
        return (values * weights).mean() / weights.mean()

    return loss


def _elementwise(name: str, activate: Callable[[Tensor], Tensor]) -> LossFunction:
    """Return a loss that gives one value per output."""
    if name == "bce_with_logits":
        return lambda logits, target: F.binary_cross_entropy_with_logits(
            logits, target, reduction="none"
        )
    if name == "bce":

        def bce(logits: Tensor, target: Tensor) -> Tensor:
            # binary_cross_entropy is not allowed under autocast: half precision loses its logs.
            with torch.autocast(logits.device.type, enabled=False):
                return F.binary_cross_entropy(
                    torch.sigmoid(logits.float() if logits.dtype.itemsize < 4 else logits),
                    target.to(torch.promote_types(logits.dtype, torch.float32)),
                    reduction="none",
                )

        return bce
    function = {"mse": F.mse_loss, "l1": F.l1_loss}[name]
    return lambda logits, target: function(activate(logits), target, reduction="none")
