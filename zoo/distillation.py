"""Distillation: a network learns what another one takes for likely, not the labels alone."""

from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.errors import DoesNotFitData
from zoo.learning import Learning
from zoo.losses import weighted_mean
from zoo.network import Network
from zoo.preprocessing import read_the_same
from zoo.weights import load_weights


class TeacherDoesNotFit(DoesNotFitData):
    """The teacher reads other data or knows other classes."""

    notice = "This recipe's teacher is for other data, so there is none."
    fallback: ClassVar[dict[str, Any]] = {"teacher": None}


class Distillation:
    """The training loss of a network with a teacher.

    G. Hinton, O. Vinyals, J. Dean (2015), "Distilling the Knowledge in a Neural Network": the
    network is to match the teacher's probabilities, softened by a temperature, beside the labels.
    The teacher sees the very batch that the network sees, augmented as it is.

    Args:
        student: The network that learns.
        learning: Its settings `teacher`, `teacher_weight` (the teacher's share of the loss) and
            `temperature` (what the logits of either are divided by before the softmax).

    Raises:
        UserError: If there are no such weights.
        TeacherDoesNotFit: If the teacher reads other data or knows other classes.
    """

    def __init__(self, student: Network, learning: Learning) -> None:
        self.weight, self.temperature = learning.teacher_weight, learning.temperature
        self.teacher = load_weights(str(learning.teacher)).requires_grad_(False)
        _require_same_task(student, self.teacher, str(learning.teacher))

    def to(self, device: torch.device) -> Self:
        """Move the teacher."""
        self.teacher.to(device)
        return self

    def __call__(
        self, x: Any, logits: Tensor, loss: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Return the loss of a batch with the teacher's share.

        Args:
            x: The raw batch.
            logits: What the network gives for it, of shape (N, classes).
            loss: The mean loss against the labels.
            weights: How much each example (N,) counts in it; all of them equally if None.
        """
        with torch.no_grad():
            teachers = self.teacher.logits(x)
        divergence = F.kl_div(
            F.log_softmax(logits.float() / self.temperature, dim=-1),
            F.log_softmax(teachers.float() / self.temperature, dim=-1),
            reduction="batchmean" if weights is None else "none",
            log_target=True,
        )
        if weights is not None:
            divergence = weighted_mean(divergence.sum(dim=-1), weights)
        # Softening divides the gradients by the temperature twice.
        return (1 - self.weight) * loss + self.weight * self.temperature**2 * divergence


def _require_same_task(student: Network, teacher: Network, name: str) -> None:
    ours, theirs = student.spec, teacher.spec
    if ours.task != "multiclass":
        raise TeacherDoesNotFit(
            f"--learning.teacher is for several classes; this is a {ours.task} task."
        )
    if ours.class_names != theirs.class_names:
        raise TeacherDoesNotFit(
            f"--learning.teacher {name} knows {', '.join(theirs.class_names or ())}; "
            f"these data have {', '.join(ours.class_names or ())}."
        )
    if ours.input_shape != theirs.input_shape or not read_the_same(
        ours.preprocessing, theirs.preprocessing
    ):
        raise TeacherDoesNotFit(f"--learning.teacher {name} reads other input than these data.")
