"""From a recipe's `optimizer` and `lr_scheduler` to the objects that Lightning steps."""

import inspect
import math
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.optim import SGD, Optimizer, SparseAdam
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, LRScheduler, OneCycleLR

from zoo.errors import UserError, unknown
from zoo.learning import ClassSpec, Learning
from zoo.loading.classes import check_spec, class_at

# What the specification of a schedule may say besides.
INTERVALS = {"step": "update", "epoch": "epoch"}
SCHEDULE_KEYS = ("class_path", "init_args", "interval", "frequency")


class OneCycle(OneCycleLR):
    """The learning rate rises to the optimizer's own and falls to almost nothing, once.

    The peak is the learning rate of the optimizer, so that it is written in one place, and the
    length is that of the training.

    Args:
        optimizer: The optimizer whose learning rates are the peaks.
        total_steps: Updates in the whole training; filled in from the trainer if None.
        pct_start: Share of the updates spent rising.
        div_factor: The first learning rate is the peak divided by this.
        final_div_factor: The last one is the first divided by this.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int | None = None,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        peaks = [group["lr"] for group in optimizer.param_groups]
        # Moving Adam's beta1 or momentum along would be a second schedule nobody asked for.
        super().__init__(
            optimizer,
            max_lr=peaks,
            total_steps=total_steps,
            pct_start=pct_start,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            cycle_momentum=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint, along this training's cycle: it may be longer than the old."""
        own = self.total_steps, self._schedule_phases
        super().load_state_dict(state_dict)
        self.total_steps, self._schedule_phases = own


class Cosine(CosineAnnealingLR):
    """The learning rate falls from the optimizer's own to `eta_min` along half a cosine.

    Args:
        optimizer: The optimizer whose learning rate falls.
        total_steps: Updates in the whole training; filled in from the trainer if None.
        eta_min: The last learning rate.
    """

    def __init__(
        self, optimizer: Optimizer, total_steps: int | None = None, eta_min: float = 0.0
    ) -> None:
        if total_steps is None:
            raise ValueError("total_steps is missing: the updates in the whole training")
        super().__init__(optimizer, T_max=total_steps, eta_min=eta_min)

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rates from the step alone: torch's, from the last ones, stay at 0."""
        return self._get_closed_form_lr()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint, along this training's curve: it may be longer than the old."""
        own = self.T_max
        super().load_state_dict(state_dict)
        self.T_max = own


def build_optimizer(
    spec: ClassSpec, groups: list[dict[str, Any]], *, fuse: bool = False
) -> Optimizer:
    """Build the optimizer of a recipe over parameter groups.

    Args:
        spec: Its class path and arguments.
        groups: Parameters, and what differs from the arguments for them.
        fuse: Take the form that updates all parameters in one call, where there is one and the
            arguments do not say otherwise. It differs from the others by rounding.
    """
    optimizer = check_spec(spec, Optimizer)
    if optimizer is SparseAdam:
        raise UserError(
            "--optimizer SparseAdam is for sparse gradients, which no network here has: take Adam."
        )
    options = dict(spec.get("init_args") or {})
    # torch's own default updates one parameter after the other on a CPU: a whole step of
    # mnist_classifier (10 parameters, Adam) takes 1,211 microseconds, fused 1,031.
    chosen = any(options.get(form) is not None for form in ("fused", "foreach"))
    fuse = fuse and not chosen and not options.get("differentiable")
    if fuse and "fused" in inspect.signature(optimizer).parameters:
        options["fused"] = True
    try:
        made = optimizer(groups, **options)
    except ValueError as error:  # such as a negative learning rate
        raise UserError(f"--optimizer {spec['class_path']} cannot be made: {error}.") from error
    if isinstance(made, SGD):
        made.register_load_state_dict_post_hook(_start_lost_momenta)
    return made


def _start_lost_momenta(optimizer: Optimizer) -> None:
    """Let a parameter whose momentum a checkpoint lacks begin with none, as in other optimizers.

    The fused form takes a momentum of every parameter with a gradient in a group, or of none: that
    of none is left alone, as a group that an unfreezing has added begins so.
    """
    for group in optimizer.param_groups:
        momenta = [optimizer.state.get(p, {}).get("momentum_buffer") for p in group["params"]]
        if group["fused"] and any(momentum is not None for momentum in momenta):
            for parameter, momentum in zip(group["params"], momenta, strict=True):
                if momentum is None:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def check_schedule(spec: ClassSpec) -> None:
    """Refuse a specification of a schedule that says something unknown.

    Raises:
        UserError: If it does.
    """
    for key in spec:
        if key not in SCHEDULE_KEYS:
            raise unknown("key of lr_scheduler called", key, SCHEDULE_KEYS)
    interval, frequency = spec.get("interval"), spec.get("frequency")
    if interval is not None and interval not in INTERVALS:
        raise unknown("interval of a schedule called", str(interval), INTERVALS)
    if frequency is not None and (not isinstance(frequency, int) or frequency < 1):
        raise UserError(f"--lr_scheduler.frequency must be 1 or more, not {frequency}.")


def schedule_interval(spec: ClassSpec) -> str:
    """Return after what a schedule moves: `step` (every update) or `epoch`.

    As `interval` says; else after every update if the class takes `total_steps` (ours,
    `OneCycleLR`) or is a `CyclicLR`, whose documentation steps them after every batch. It steps all
    others after every epoch: the `T_max` of `CosineAnnealingLR` counts epochs.
    """
    if spec.get("interval"):
        return spec["interval"]
    scheduler_class = class_at(spec["class_path"])
    per_update = "total_steps" in inspect.signature(scheduler_class).parameters
    per_update |= isinstance(scheduler_class, type) and issubclass(scheduler_class, CyclicLR)
    return "step" if per_update else "epoch"


def describe_schedule(spec: ClassSpec) -> str:
    """Return in a sentence what a schedule is and when it moves."""
    name, unit = spec["class_path"].rpartition(".")[2], INTERVALS[schedule_interval(spec)]
    frequency = spec.get("frequency") or 1
    every = f"{frequency} {unit}s" if frequency > 1 else unit
    return f"The learning rate follows {name}, which moves after every {every}."


def build_scheduler(
    spec: ClassSpec,
    optimizer: Optimizer,
    total_steps: float = math.inf,
    total_epochs: float = math.inf,
) -> dict[str, Any]:
    """Build a scheduler as Lightning's configuration dictionary.

    A scheduler that takes `total_steps` spans the whole training. A plateau scheduler watches its
    `monitor`, or the validation loss if it names none.

    Args:
        spec: Class path, arguments, and if wanted `interval` (`step` or `epoch`, see
            `schedule_interval`) and `frequency` (to move after every so many of them only).
        optimizer: The optimizer whose learning rates move.
        total_steps: Updates in the whole training.
        total_epochs: Epochs in the whole training.

    Raises:
        UserError: If it cannot be made.
    """
    check_schedule(spec)
    interval, frequency = schedule_interval(spec), spec.get("frequency") or 1
    scheduler_class = check_spec(spec, LRScheduler)
    options = dict(spec.get("init_args") or {})
    spans = "total_steps" in inspect.signature(scheduler_class).parameters
    if spans and options.get("total_steps") is None and options.get("steps_per_epoch") is None:
        total = total_steps if interval == "step" else total_epochs
        if math.isinf(total):
            raise UserError(
                f"--lr_scheduler {spec['class_path']} spans the whole training, which has no end: "
                "give --trainer.max_epochs or --trainer.max_steps."
            )
        options["total_steps"] = max(1, int(total) // frequency)
    try:
        scheduler: LRScheduler = scheduler_class(optimizer, **options)
    except ValueError as error:
        raise UserError(f"--lr_scheduler {spec['class_path']} cannot be made: {error}.") from error
    return {
        "scheduler": scheduler,
        "interval": interval,
        "frequency": frequency,
        "monitor": options.get("monitor", "loss/val"),
        "strict": False,  # a plateau cannot be seen before the first validation
    }


def parameter_groups(
    model: nn.Module,
    head: nn.Module,
    parameters: Iterable[tuple[str, nn.Parameter]],
    learning: Learning,
) -> list[dict[str, Any]]:
    """Group parameters by the learning rate that they get.

    Args:
        model: The whole network; the order of its parameters is the order of depth.
        head: The part of it that keeps the full learning rate.
        parameters: The named parameters to group, in the network's order.
        learning: The optimizer's learning rate, the head's, and the decay from layer to layer.

    Returns:
        Groups for an optimizer: `params`, and `lr` where it differs from the optimizer's.

    Raises:
        UserError: If a relative learning rate is asked for but the optimizer has none, or a value
            is out of range.
    """
    parameters, head_lr, layer_decay = list(parameters), learning.head_lr, learning.layer_decay
    if head_lr is None and layer_decay is None:
        return [{"params": [p for _, p in parameters]}] if parameters else []
    lr = ((learning.optimizer or {}).get("init_args") or {}).get("lr")
    if lr is None:
        raise UserError("--head_lr and --layer_decay need an optimizer with --optimizer.lr.")
    in_head = {id(p) for p in head.parameters()}
    layer_of = {
        n: n.rpartition(".")[0] for n, p in model.named_parameters() if id(p) not in in_head
    }
    depth_of = {layer: i for i, layer in enumerate(dict.fromkeys(layer_of.values()))}
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters:
        if id(parameter) in in_head:
            rate = lr if head_lr is None else head_lr
        else:
            rate = lr * (layer_decay or 1.0) ** (len(depth_of) - depth_of[layer_of[name]])
        groups.setdefault(rate, []).append(parameter)
    return [{"params": params, "lr": rate} for rate, params in groups.items()]


def add_groups(
    optimizer: Optimizer, groups: list[dict[str, Any]], schedulers: list[LRScheduler]
) -> None:
    """Add parameter groups in the middle of a training, at the point where its schedule is."""
    first = optimizer.param_groups[0]
    for group in groups:
        template = {key: value for key, value in first.items() if key != "params"}
        initial = template.get("initial_lr", template["lr"])
        peak = template.get("max_lr", initial)
        factor = group.get("lr", peak) / peak
        for key in ("lr", "initial_lr", "max_lr", "min_lr"):
            if key in template:
                template[key] *= factor
        optimizer.add_param_group({**template, "params": group["params"]})
        for scheduler in schedulers:
            if hasattr(scheduler, "base_lrs"):
                scheduler.base_lrs.append(initial * factor)
            if hasattr(scheduler, "max_lrs"):  # CyclicLR: all of a cycle is in proportion
                scheduler.max_lrs.append(scheduler.max_lrs[0] * factor)
            for name in ("lr_lambdas", "base_momentums", "max_momentums"):
                if hasattr(scheduler, name):
                    getattr(scheduler, name).append(getattr(scheduler, name)[0])


def may_fuse(trainer: Trainer | None, device: torch.device) -> bool:
    """Say whether an optimizer may update all parameters in one call, as it pays on a CPU.

    Lightning clips no gradients of one that does under mixed precision.
    """
    if trainer is None:
        return device.type == "cpu"
    clips_mixed = trainer.gradient_clip_val and "mixed" in str(trainer.precision)
    scales = trainer.precision == "16-mixed"  # its gradients would be seen scaled
    return device.type == "cpu" and not clips_mixed and not scales
