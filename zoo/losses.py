"""The documents' losses, by name, all on logits.

Where a document puts sigmoid, softmax or log_softmax into `forward` and pairs it with BCELoss or
NLLLoss, the network here returns logits and the loss applies the activation: the same mathematics,
numerically stable, and legal under mixed precision. `bce` and `nll` are the documents' own forms,
`bce_with_logits` and `cross_entropy` the fused ones; a parity test shows that they are equal.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.errors import DoesNotFitData, UserError

LossName = Literal["bce", "bce_with_logits", "cross_entropy", "kl_div", "l1", "mse", "nll"]
OutputActivation = Literal["none", "sigmoid", "softmax"]
LossFunction = Callable[[Tensor, Tensor], Tensor]


# The first is the default.
LOSSES_OF_TASK: dict[str, tuple[str, ...]] = {
    "binary": ("bce_with_logits", "bce", "mse", "l1"),
    "multiclass": ("cross_entropy", "nll", "kl_div", "bce_with_logits", "bce", "mse", "l1"),
    "regression": ("mse", "l1"),
}

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda logits: logits,
    "sigmoid": torch.sigmoid,
    "softmax": lambda logits: torch.softmax(logits, dim=-1),
}

#: What stands for a task's usual loss, of the network's arguments.
USUAL_LOSS: dict[str, Any] = {"loss": None, "output_activation": "none", "label_smoothing": 0.0}


class LossDoesNotFit(DoesNotFitData):
    """The loss is none of the task's."""

    notice = "This recipe's loss is for other data, so the usual one is taken."
    usual = USUAL_LOSS


def build_loss(
    task: str,
    name: str | None = None,
    *,
    output_activation: OutputActivation = "none",
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
) -> LossFunction:
    """Return `loss(logits, target) -> scalar`, the mean over a batch.

    Args:
        task: `binary`, `multiclass` or `regression`; decides the form of the targets.
        name: One of the task's losses; its usual one if None.
        output_activation: What `mse` and `l1` compare with the target: the outputs themselves, or
            their sigmoid or softmax.
        label_smoothing: For `cross_entropy`: the share of probability spread over all classes.
        class_weights: For classification: weights of shape (classes,), two of them if binary.

    Raises:
        LossDoesNotFit: If the loss, or an option of it, does not fit the task.
    """
    fitting = LOSSES_OF_TASK[task]
    name = name or fitting[0]
    if name not in fitting:
        raise LossDoesNotFit(
            f"--model.loss {name} does not fit a {task} task; these do: {', '.join(fitting)}."
        )
    if task == "regression" and output_activation != "none":
        # The loss would compare a sigmoid with the target, and the prediction would be without it.
        raise LossDoesNotFit(
            f"--model.output_activation {output_activation} belongs to classes; a regression "
            "compares its outputs as they are: --model.output_activation none."
        )
    if not 0 <= label_smoothing < 1:
        raise UserError(
            f"--model.label_smoothing must be 0 or more and below 1, not {label_smoothing}."
        )
    if label_smoothing and name != "cross_entropy":
        raise LossDoesNotFit(f"--model.label_smoothing belongs to cross_entropy, not to {name}.")
    if task == "multiclass":
        return _multiclass(name, _ACTIVATIONS[output_activation], label_smoothing, class_weights)
    if task == "binary":
        return _binary(name, _ACTIVATIONS[output_activation], class_weights)
    compare = _elementwise(name, _ACTIVATIONS[output_activation])
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
    per_example = _kl_div if name == "kl_div" else _elementwise(name, activate)

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


def _kl_div(logits: Tensor, one_hot: Tensor) -> Tensor:
    """Return one value per example: the cross-entropy, as the target's entropy is zero."""
    divergence = F.kl_div(F.log_softmax(logits, dim=-1), one_hot, reduction="none")
    return divergence.sum(dim=-1, keepdim=True)


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
