"""How a network learns: loss, penalties, teacher, freezing, rates.

Importing it imports no torch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self, cast

from zoo.errors import DoesNotFitData, UserError, unknown

LossName = Literal["bce", "bce_with_logits", "cross_entropy", "kl_div", "l1", "mse", "nll"]
OutputActivation = Literal["none", "sigmoid", "softmax"]
InitName = Literal[
    "default",
    "zeros",
    "ones",
    "uniform",
    "normal",
    "xavier_uniform",
    "xavier_normal",
    "kaiming_uniform",
    "kaiming_normal",
    "orthogonal",
]
ClassSpec = dict[str, Any]  # {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}

# The first is the default.
LOSSES_OF_TASK: dict[str, tuple[LossName, ...]] = {
    "binary": ("bce_with_logits", "bce", "mse", "l1"),
    "multiclass": ("cross_entropy", "nll", "kl_div", "bce_with_logits", "bce", "mse", "l1"),
    "regression": ("mse", "l1"),
}
#: What stands for the loss that a task has by default.
DEFAULT_LOSS: dict[str, Any] = {"loss": None, "output_activation": "none", "label_smoothing": 0.0}


class LossDoesNotFit(DoesNotFitData):
    """The loss is none of the task's."""

    notice = "This recipe's loss is for other data, so the default one is taken."
    fallback: ClassVar[dict[str, Any]] = DEFAULT_LOSS


@dataclass(frozen=True)
class Learning:
    """How a network learns; no part of what it is, so no part of its weights.

    Args:
        loss: The loss; the task's default one if not given.
        output_activation: What the losses mse and l1 compare with the target: the outputs as they
            are, their sigmoid or their softmax.
        label_smoothing: Share of the probability that cross_entropy spreads over all classes.
        l1_penalty: Factor of the L1 norm of all weights, added to the training loss.
        l2_penalty: Factor of the L2 norm (not squared) of all weights, added to the training loss.
        class_weights: A weight for each class in the loss; the data's own if not given.
        teacher: Weights of a network to learn from beside the labels: a name of
            `zoo.list_models(pretrained=True)`, a run directory or a file.
        teacher_weight: Share of the teacher in the training loss, from 0 to 1.
        temperature: What softens the probabilities that are learnt from the teacher.
        init: Initialization of all weights; each layer's own if `default`.
        freeze: Names of parameters that do not learn: `backbone`, or patterns such as
            `backbone.0.*`.
        unfreeze_at_epoch: Epoch before which `freeze` holds; for the whole training if not given.
        head_lr: Learning rate of the head; the optimizer's if not given.
        layer_decay: Factor from each layer's learning rate to that of the layer below.
        averaging: Decay of an exponential average of the weights, such as 0.999, which then is
            what the training ends with; none if not given.
        optimizer: Class path and arguments of the optimizer; Adam if not given.
        lr_scheduler: Class path and arguments of the learning rate's schedule; with `interval`
            (`step` or `epoch`) and `frequency` if it is not to move when it usually does.

    Raises:
        UserError: If a number is out of its range, or two settings contradict each other.
    """

    loss: LossName | None = None
    output_activation: OutputActivation = "none"
    label_smoothing: float = 0.0
    l1_penalty: float = 0.0
    l2_penalty: float = 0.0
    class_weights: list[float] | None = None
    teacher: str | None = None
    teacher_weight: float = 0.9
    temperature: float = 4.0
    init: InitName = "default"
    freeze: list[str] | None = None
    unfreeze_at_epoch: int | None = None
    head_lr: float | None = None
    layer_decay: float | None = None
    averaging: float | None = None
    optimizer: ClassSpec | None = None
    lr_scheduler: ClassSpec | None = None

    def __post_init__(self) -> None:
        if self.unfreeze_at_epoch is not None and not self.freeze:
            raise UserError(
                "--learning.unfreeze_at_epoch needs --learning.freeze, such as [backbone]."
            )
        for name, low, high in (
            ("label_smoothing", 0, 1),
            ("teacher_weight", 0, 1),
            ("layer_decay", 0, 1),
            ("averaging", 0, 1),
            ("head_lr", 0, None),
            ("l1_penalty", 0, None),
            ("l2_penalty", 0, None),
            ("temperature", 0, None),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= (value if high is None else high):
                limits = f"from {low} to {high}" if high is not None else f"{low} or more"
                raise UserError(f"--learning.{name} must be {limits}, not {value}.")
        for name, excluded in (("label_smoothing", 1), ("layer_decay", 0), ("temperature", 0)):
            if getattr(self, name) == excluded:
                raise UserError(f"--learning.{name} must not be {excluded}.")

    @classmethod
    def of(cls, settings: "Learning | Mapping[str, Any] | None") -> Self:
        """Return it of plain settings, as a recipe has them."""
        if isinstance(settings, cls):
            return settings
        given = cast(Mapping[str, Any], settings or {})
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise unknown("setting of `learning` called", name, known)
        return cls(**given)

    def plain(self) -> dict[str, Any]:
        """Return plain settings, for a recipe or a checkpoint."""
        return asdict(self)

    def check_task(self, task: str) -> None:
        """Refuse a loss that is none of the task's.

        Raises:
            LossDoesNotFit: If the loss, or an option of it, does not fit.
        """
        fitting = LOSSES_OF_TASK[task]
        loss = self.loss or fitting[0]
        if loss not in fitting:
            raise LossDoesNotFit(
                f"--learning.loss {loss} does not fit a {task} task; these do: "
                f"{', '.join(fitting)}."
            )
        if task == "regression" and self.output_activation != "none":
            # The loss would compare a sigmoid with the target, and the prediction lack it.
            raise LossDoesNotFit(
                f"--learning.output_activation {self.output_activation} belongs to classes; a "
                "regression compares its outputs as they are: --learning.output_activation none."
            )
        if self.label_smoothing and loss != "cross_entropy":
            raise LossDoesNotFit(
                f"--learning.label_smoothing belongs to cross_entropy, not to {loss}."
            )

    def without_classes(self) -> "Learning":
        """Return it for other classes: without their weights and without a teacher of theirs."""
        return replace(self, class_weights=None, teacher=None)


#: The settings that a recipe has under `learning:`; the others have keys of their own.
SETTINGS = tuple(
    field.name for field in fields(Learning) if field.name not in ("optimizer", "lr_scheduler")
)
