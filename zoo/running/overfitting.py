"""The sanity check before a long training: can the network learn one batch by heart?"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn

from datamodules.batches import parts_of
from zoo.errors import counted
from zoo.module import ZooModule
from zoo.optimization import build_optimizer
from zoo.running.training import Training

UPDATES = 1000
CHECK_EVERY = 10
# A loss is near 0 below this: each example's class has a probability of 95 %, or a regression
# explains all but 2 % of the targets' variance.
NEAR_ZERO = 0.05
NEAR_ZERO_REGRESSION = 0.02
# Rates to try instead, to tell whether the rate is the reason.
FACTORS = (0.1, 0.01, 0.001, 1e-4, 10.0, 100.0, 1000.0, 1e4, 1e5)
DEAD_SHARE = 0.9


@dataclass(frozen=True)
class Verdict:
    """What came of the check.

    Attributes:
        passed: Whether the batch was learned by heart.
        examples: How many examples it has.
        first: The loss before.
        last: The loss after.
        accuracy: Share of the examples that are right after; None for a regression.
        updates: How many updates that took.
        reason: Why not, if it was not.
    """

    passed: bool
    examples: int
    first: float
    last: float
    accuracy: float | None
    updates: int
    reason: str = ""

    def __str__(self) -> str:
        """The verdict in one or two lines."""
        right = "" if self.accuracy is None else f", accuracy {self.accuracy:.4f}"
        figures = (
            f"{counted(self.examples, 'example')}, {counted(self.updates, 'update')}: "
            f"loss {self.first:.4f} -> {self.last:.4f}{right}"
        )
        if self.passed:
            return f"--overfit: passed. {figures}"
        return f"--overfit: FAILED. {figures}\nlikely reason: {self.reason}"


def check_overfitting(training: Training, batches: int = 1) -> Verdict:
    """Train a copy of a network on its first batches until it knows them by heart.

    The network, the random numbers and the order of the data stay as they were. Nothing is
    augmented, and there is no dropout, no schedule and no penalty: they are not what is checked.

    Args:
        training: A run, with the optimizer that is checked.
        batches: How many batches.
    """
    with isolate_rng(), training.threads():
        data = _first_batches(training, batches)
        model = copy.deepcopy(training.model).to(training.trainer.strategy.root_device)
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(module, nn.RNNBase):
                module.dropout = 0.0
        check = _Check(model, data)
        if not any(p.requires_grad for p in model.parameters()):
            loss, accuracy = check.evaluate(model)
            frozen = "everything is frozen: no parameter of the network learns."
            return Verdict(False, check.count, loss, loss, accuracy, 0, frozen)
        causes = [check.contradictory_labels(), check.dead_units()]
        verdict = check.train(1.0)
        if verdict.passed:
            return verdict
        reason = next(filter(None, causes), "") or check.reason_by_rates(verdict)
        return Verdict(**{**vars(verdict), "reason": reason})


def _first_batches(training: Training, count: int) -> list[tuple[Any, Tensor]]:
    loader, device = training.data.train_dataloader(), training.trainer.strategy.root_device
    found = []
    for batch in loader:
        found.append(training.data.transfer_batch_to_device(batch, device, 0))
        if len(found) == count:
            break
    return found


class _Check:
    """A network that is trained on a few batches, again and again from the same start."""

    def __init__(self, model: ZooModule, batches: list[tuple[Any, Tensor]]) -> None:
        self.model, self.batches = model, batches
        self.count = sum(len(y) for _, y in batches)
        regression = model.spec.task == "regression"
        self.near_zero = NEAR_ZERO_REGRESSION if regression else NEAR_ZERO

    @torch.no_grad()
    def evaluate(self, model: ZooModule) -> tuple[float, float | None]:
        """Return mean loss and accuracy on the batches, in evaluation mode."""
        model.eval()
        loss, right = 0.0, 0.0
        for x, y in self.batches:
            logits = model.logits(x)
            loss += float(model.loss(logits, y)) * len(y)
            correct = model.task.correct(logits, y)
            right += math.nan if correct is None else float(correct.sum())
        model.train()
        return loss / self.count, None if math.isnan(right) else right / self.count

    def train(self, factor: float) -> Verdict:
        """Train a copy with so many times the rate."""
        model = copy.deepcopy(self.model)
        optimizer = _optimizer(model, factor)
        first, accuracy = self.evaluate(model)
        last = first
        for update in range(1, UPDATES + 1):
            x, y = self.batches[update % len(self.batches)]

            def closure(x: Any = x, y: Tensor = y) -> Tensor:  # what LBFGS calls several times
                optimizer.zero_grad()
                loss = model.loss(model.logits(x), y)
                loss.backward()
                return loss

            loss = float(optimizer.step(closure).detach())  # type: ignore[attr-defined,arg-type]
            if update % CHECK_EVERY and math.isfinite(loss):
                continue
            last, accuracy = self.evaluate(model)
            if not math.isfinite(last):
                break
            if last < self.near_zero and accuracy in (None, 1.0):
                return Verdict(True, self.count, first, last, accuracy, update)
        return Verdict(False, self.count, first, last, accuracy, update)

    def contradictory_labels(self) -> str:
        """Tell of examples with the same input and other targets, which no network tells apart."""
        seen: dict[tuple[bytes, ...], Tensor] = {}
        clashing = 0
        for x, y in self.batches:
            for i, target in enumerate(y):
                key = tuple(part[i].cpu().contiguous().numpy().tobytes() for part in parts_of(x))
                clashing += not torch.equal(seen.setdefault(key, target), target)
        if not clashing:
            return ""
        return (
            f"labels contradict each other: {clashing} of {self.count} examples have the same "
            "input as another one, but another target."
        )

    def dead_units(self) -> str:
        """Tell of layers that pass nothing on for any example, before any training."""
        with _outputs(self.model) as outputs:
            losses = [self.model.loss(self.model.logits(x), y) for x, y in self.batches]
        self.model.zero_grad()
        torch.stack(losses).sum().backward()
        for name, dead in outputs.items():
            share = float(dead.float().mean())
            if share >= DEAD_SHARE:
                return (
                    f"dead units: {100 * share:.0f} % of the units of {name} give 0 for every "
                    "example, so nothing before them learns."
                )
        still = [
            name
            for name, p in self.model.named_parameters()
            if p.requires_grad and p.ndim > 1 and (p.grad is None or not p.grad.any())
        ]
        self.model.zero_grad()
        if still:
            return f"dead units: no gradient reaches {', '.join(still)}."
        return ""

    def reason_by_rates(self, verdict: Verdict) -> str:
        """Find out whether another rate is all that is missing, by trying some."""
        for factor in FACTORS:
            other = self.train(factor)
            if other.passed:
                kind = "high" if factor < 1 else "low"
                return (
                    f"the learning rate is far too {kind}: with {factor:g} times it the loss "
                    f"gets to {other.last:.4f} in {other.updates} updates."
                )
        if not math.isfinite(verdict.last):
            return "the loss becomes infinite at every rate tried: look at the inputs' scale."
        return (
            "none of the usual ones (frozen layers, dead units, contradictory labels, the rate): "
            "the network may be too small for the batch, or its inputs all alike."
        )


@contextmanager
def _outputs(model: ZooModule) -> Iterator[dict[str, Tensor]]:
    """Note for each ReLU which of its units are 0 for all examples."""
    dead: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            zero = (output.detach() == 0).transpose(0, 1).flatten(1).all(1)
            dead[name] = dead[name] & zero if name in dead else zero

        return hook

    hooks = [
        module.register_forward_hook(note(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.ReLU)
    ]
    try:
        yield dead
    finally:
        for hook in hooks:
            hook.remove()


def _optimizer(model: ZooModule, factor: float) -> torch.optim.Optimizer:
    """Build the network's own optimizer with another rate."""
    spec = model.learning.optimizer or {"class_path": "torch.optim.Adam"}
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = build_optimizer(spec, [{"params": learning}])
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * factor
    return optimizer
