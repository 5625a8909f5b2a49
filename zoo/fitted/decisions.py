"""What is made of a trained network's answer on a table: the class from a threshold, an interval.

Both are fitted on validation data when a training has ended, and travel with the weights.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import Tensor

# Of each class validation must have so many examples, or a threshold fits to chance.
LEAST_OF_EACH = 10


@dataclass(frozen=True)
class Decision:
    """How a binary network's probability becomes a class, and how sure a regression's number is.

    Attributes:
        threshold: From which probability on an example is of the second class; None if it is no
            binary network's.
        rule: What the threshold is the best by: `f1`, or `costs`.
        costs: What a missed example (`fn`) and a false alarm (`fp`) cost, if the user said so.
        level: Which share of the intervals holds the true value; None without intervals.
        radius: By how much the interval of each target reaches below and above the prediction.
    """

    threshold: float | None = None
    rule: str = ""
    costs: dict[str, float] | None = None
    level: float | None = None
    radius: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = [*self.radius, *(self.costs or {}).values()]
        shares = [value for value in (self.threshold, self.level) if value is not None]
        fine = all(0 <= v <= 1 for v in shares) and all(0 <= v < math.inf for v in numbers)
        if not fine or self.rule not in ("", "f1", "costs"):
            raise ValueError(f"a decision of {asdict(self)}")

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """Return it of plain values, as a weights file has them.

        Raises:
            ValueError: If they are no numbers, or out of range.
            TypeError: If they are of another kind.
        """
        known = {key: described.get(key) for key in ("threshold", "level")}
        costs = described.get("costs")
        return cls(
            **{key: None if value is None else float(value) for key, value in known.items()},
            rule=str(described.get("rule", "")),
            costs=costs and {key: float(costs[key]) for key in ("fn", "fp")},
            radius=tuple(float(value) for value in described.get("radius", ())),
        )

    def plain(self) -> dict[str, Any]:
        """Return plain values, for a weights file."""
        return {**asdict(self), "radius": list(self.radius)}

    def applied(self, answer: dict[str, Any], class_names: list[str]) -> dict[str, Any]:
        """Return an answer with the class that the threshold gives, or `lower` and `upper`."""
        if self.threshold is not None:
            positive = (answer["probabilities"][:, 1] >= self.threshold).tolist()
            return {**answer, "prediction": [class_names[int(p)] for p in positive]}
        if self.level is not None:
            value = answer["prediction"]
            radius = torch.tensor(self.radius, dtype=value.dtype, device=value.device)
            return {**answer, "lower": value - radius, "upper": value + radius}
        return answer


def fit_threshold(
    probability: Tensor, target: Tensor, costs: dict[str, float] | None
) -> Decision | None:
    """Return the threshold of the highest F1 or the lowest cost on validation examples.

    Args:
        probability: (N,) of the second class.
        target: (N,) 0 or 1.
        costs: What a missed example (`fn`) and a false alarm (`fp`) cost; None for F1.

    Returns:
        The decision. Of too few examples it is the one that fits honest probabilities, for costs,
        and None for F1: 0.5 then stays.
    """
    target = target.reshape(-1) > 0.5
    positives = int(target.sum())
    if min(positives, len(target) - positives) < LEAST_OF_EACH:
        if costs is None:
            return None
        return Decision(costs["fp"] / (costs["fp"] + costs["fn"]), "costs", costs)
    ordered, order = probability.double().sort(descending=True)
    hits = target[order].cumsum(0).double()
    taken = torch.arange(1, len(ordered) + 1, dtype=torch.double)
    if costs is None:
        score = 2 * hits / (taken + positives)
    else:
        # Nothing may be taken, too: the first place stands for that.
        score = -(costs["fn"] * (positives - hits) + costs["fp"] * (taken - hits))
    # A threshold is between two different probabilities.
    between = torch.cat([ordered[:-1] > ordered[1:], torch.tensor([True])])
    score = score.masked_fill(~between, -math.inf)
    best = int(score.argmax())
    if costs is not None and -costs["fn"] * positives > score[best]:
        return Decision(min(1.0, (1 + float(ordered[0])) / 2), "costs", costs)
    after = float(ordered[best + 1]) if best + 1 < len(ordered) else 0.0
    threshold = (float(ordered[best]) + after) / 2
    return Decision(float(f"{threshold:.6g}"), "costs" if costs else "f1", costs)


def fit_interval(predicted: Tensor, target: Tensor, level: float) -> Decision:
    """Return the interval that holds the true value in so many of all cases: split conformal.

    V. Vovk, A. Gammerman, G. Shafer (2005), "Algorithmic Learning in a Random World": of n
    examples that were not trained on, the error of rank (n + 1) * level.

    Args:
        predicted: (N, targets), of validation examples.
        target: (N, targets).
        level: The share, between 0 and 1.

    Raises:
        ValueError: If there are too few examples for that level.
    """
    errors = (target.reshape(predicted.shape).double() - predicted.double()).abs().sort(0).values
    rank = conformal_rank(len(errors), level)
    if rank > len(errors):
        raise ValueError(f"{len(errors)} examples are too few for {level}")
    return Decision(level=level, radius=tuple(errors[rank - 1].tolist()))


def conformal_rank(count: int, level: float) -> int:
    """Return the rank of the error that is the radius; above `count` if there are too few."""
    return math.ceil(round((count + 1) * level, 9))


def describe(decision: Decision, outputs: Tensor, target: Tensor) -> dict[str, Any]:
    """Return what a decision does to a split.

    Args:
        decision: The decision.
        outputs: Probabilities (N,) of the second class, or values (N, targets).
        target: What is true.

    Returns:
        Of a threshold `f1`, `accuracy`, `precision`, `recall` and `cost` (mean, if there are
        costs), each at 0.5 and at the threshold; of intervals the `coverage` of each target.
    """
    if decision.threshold is None:
        errors = (target.reshape(outputs.shape) - outputs).abs().double()
        inside = errors <= torch.tensor(decision.radius, dtype=torch.double)
        return {"coverage": [round(share, 4) for share in inside.double().mean(0).tolist()]}
    found: dict[str, list[float]] = {}
    positive = target.reshape(-1) > 0.5
    for threshold in (0.5, decision.threshold):
        taken = outputs >= threshold
        hit, alarm = int((taken & positive).sum()), int((taken & ~positive).sum())
        missed = int((~taken & positive).sum())
        measured = {
            "f1": 2 * hit / max(2 * hit + alarm + missed, 1),
            "accuracy": 1 - (alarm + missed) / len(positive),
            "precision": hit / max(hit + alarm, 1),
            "recall": hit / max(hit + missed, 1),
        }
        if decision.costs:
            costs = decision.costs["fn"] * missed + decision.costs["fp"] * alarm
            measured["cost"] = costs / len(positive)
        for name, value in measured.items():
            found.setdefault(name, []).append(round(value, 5))
    return found


def sentence(described: Mapping[str, Any], split: str, positive: str = "") -> str:
    """Return in a line what a card says of a decision.

    Args:
        described: The card's `decision`.
        split: Of which split the figures are.
        positive: The second class.
    """
    found = described.get(split, {})
    if described.get("threshold") is None:
        radius = ", ".join(f"{value:.4g}" for value in described["radius"])
        text = f"± {radius} for {described['level']:.0%}"
        shares = ", ".join(f"{share:.1%}" for share in found.get("coverage", ()))
        return f"{text}; {shares} of {split} rows are inside" if shares else text
    first = ("cost", "f1") if described["rule"] == "costs" else ("f1", "precision", "recall")
    parts = [
        f"{'mean cost' if name == 'cost' else name} {found[name][0]:.4f} -> {found[name][1]:.4f}"
        for name in (*first, "accuracy")
        if name in found
    ]
    costs = described.get("costs")
    why = f"costs fn={costs['fn']:g}, fp={costs['fp']:g}" if costs else "best F1"
    text = f"'{positive}' from probability {described['threshold']:.4g} on ({why})"
    return f"{text}; {split}: {', '.join(parts)}" if parts else text
