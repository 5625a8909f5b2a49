"""Distillation: a network learns what another one takes for likely, not the labels alone."""

from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.errors import DoesNotFitData, UserError
from zoo.losses import weighted_mean
from zoo.preprocessing import read_the_same

if TYPE_CHECKING:
    from zoo.network import Network


class TeacherDoesNotFit(DoesNotFitData):
    """The teacher reads other data or knows other classes."""

    notice = "This recipe's teacher is for other data, so there is none."
    usual: ClassVar[dict[str, Any]] = {"teacher": None}


class Distillation:
    """The training loss of a network with a teacher.

    G. Hinton, O. Vinyals, J. Dean (2015), "Distilling the Knowledge in a Neural Network": the
    network is to match the teacher's probabilities, softened by a temperature, beside the labels.
    The teacher sees the very batch that the network sees, augmented as it is.

    Args:
        student: The network that learns.
        teacher: A name of `zoo.list_models(pretrained=True)`, a run directory or a weights file.
        weight: Share of the teacher in the loss, from 0 to 1; the labels have the rest.
        temperature: What logits are divided by before the softmax of either network.

    Raises:
        UserError: If there are no such weights, or a number is out of range.
        TeacherDoesNotFit: If the teacher reads other data or knows other classes.
    """

    def __init__(self, student: "Network", teacher: str, weight: float, temperature: float) -> None:
        from zoo.weights import load_weights

        if not 0 <= weight <= 1:
            raise UserError(f"--model.teacher_weight is a share from 0 to 1, not {weight}.")
        if temperature <= 0:
            raise UserError(f"--model.temperature must be positive, not {temperature}.")
        self.weight, self.temperature = weight, temperature
        self.teacher = load_weights(teacher).requires_grad_(False)
        _require_same_task(student, self.teacher, teacher)

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


def _require_same_task(student: "Network", teacher: "Network", name: str) -> None:
    if student.hparams["task"] != "multiclass":
        raise TeacherDoesNotFit(
            f"--model.teacher is for several classes; this is a {student.hparams['task']} task."
        )
    if teacher.class_names != student.class_names:
        raise TeacherDoesNotFit(
            f"--model.teacher {name} knows {', '.join(teacher.class_names)}; "
            f"these data have {', '.join(student.class_names)}."
        )
    ours, theirs = student.hparams, teacher.hparams
    if ours["input_shape"] != theirs["input_shape"] or not read_the_same(
        ours["preprocessing"], theirs["preprocessing"]
    ):
        raise TeacherDoesNotFit(f"--model.teacher {name} reads other input than these data.")
