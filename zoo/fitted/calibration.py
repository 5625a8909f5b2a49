"""What is fitted on validation data when a training has ended: honest probabilities, "unknown".

Nothing here changes a logit, so nothing changes which class is the likeliest.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.fitted.familiarity import Familiarity

#: What a network says of an input that is like none of what it was trained on.
UNKNOWN = "unknown"
#: Bins of the calibration error; each holds as many examples.
BINS = 15


@dataclass(frozen=True)
class Calibration:
    """How a classifier's logits are read once it is trained.

    C. Guo, G. Pleiss, Y. Sun, K. Weinberger (2017), "On Calibration of Modern Neural Networks":
    networks are surer than they are right. Logits divided by one temperature give the same classes
    and probabilities that come true about as often as they say.

    Attributes:
        temperature: What logits are divided by before the softmax or sigmoid; 1 changes nothing.
        familiarity: What tells inputs that are none of the classes; None if the validation split
            was too small to say.
    """

    temperature: float = 1.0
    familiarity: Familiarity | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"a temperature of {self.temperature}")

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """Return it of plain values, as a weights file has them.

        Raises:
            ValueError: If they are none, or not finite.
            TypeError: If they are of another kind.
            KeyError: If one is missing.
        """
        known = described.get("familiarity")
        return cls(
            temperature=float(described["temperature"]),
            familiarity=None if known is None else Familiarity.of(known),
        )

    def plain(self) -> dict[str, Any]:
        """Return plain values, for a weights file."""
        plain = asdict(self)
        if self.familiarity is not None and self.familiarity.limit is None:
            del plain["familiarity"]["limit"]  # which came later: files without it stay the same
        return plain

    def unknown(self, logits: Tensor) -> Tensor:
        """Return which examples (N,) are like none of the classes, bool."""
        if self.familiarity is None:
            return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        return self.familiarity.unknown(logits)


def fit_calibration(logits: Tensor, target: Tensor) -> Calibration | None:
    """Fit a temperature and what tells the unknown.

    Args:
        logits: (N, classes), or (N, 1) of a binary network, of validation examples.
        target: Their classes (N,).

    Returns:
        The calibration; the negative log-likelihood of these examples is no higher with it than
        without. None if there are no examples, or their logits are not finite.
    """
    if not len(logits) or not bool(logits.isfinite().all()):
        return None
    logits, target = logits.double().cpu(), target.reshape(-1).long().cpu()
    return Calibration(_temperature(logits, target), Familiarity.fit(logits, target))


def _temperature(logits: Tensor, target: Tensor) -> float:
    """Return the temperature of the lowest negative log-likelihood, to four digits.

    Labels are smoothed as J. Platt's (1999) are, by 1 / (N + 2): a few examples that are all right
    would otherwise ask for a temperature of 0.
    """
    of_classes = class_logits(logits)
    smoothing = of_classes.shape[1] / (of_classes.shape[1] - 1) / (len(target) + 2)

    def loss(scale: float) -> float:
        return F.cross_entropy(of_classes * scale, target, label_smoothing=smoothing).item()

    # Convex in the inverse of the temperature, so it has one minimum, and thirds close in on it.
    low, high = 0.01, 100.0
    while high / low > 1.00005:
        lower, upper = ((high / low) ** (k / 3) * low for k in (1, 2))
        low, high = (low, upper) if loss(lower) <= loss(upper) else (lower, high)
    found = float(f"{1 / low:.4g}")
    # Without smoothing it may be worse than none, of examples that are too few.
    return found if nll(logits, target, found) <= nll(logits, target) else 1.0


def class_logits(logits: Tensor) -> Tensor:
    """Return a logit for each class (N, classes), also of a binary network's one."""
    return torch.cat([-logits / 2, logits / 2], dim=-1) if logits.shape[-1] == 1 else logits


def nll(logits: Tensor, target: Tensor, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of the targets (N,)."""
    return F.cross_entropy(class_logits(logits) / temperature, target).item()


def calibrated_nll(logits: Tensor, target: Tensor) -> float:
    """Return the mean negative log-likelihood at the temperature that makes it the lowest."""
    logits, target = logits.double().cpu(), target.reshape(-1).long().cpu()
    return nll(logits, target, _temperature(logits, target))


def calibration_error(logits: Tensor, target: Tensor, temperature: float = 1.0) -> float:
    """Return by how much the probability of the predicted class and its accuracy differ.

    The mean over 15 bins that hold as many examples each, of neighbouring probabilities.
    """
    confidence, predicted = (class_logits(logits) / temperature).softmax(-1).max(-1)
    order = confidence.argsort(stable=True)
    gap = (confidence - (predicted == target).to(confidence.dtype))[order]
    return sum(abs(part.sum().item()) for part in gap.tensor_split(BINS)) / len(gap)


def describe(calibration: Calibration, logits: Tensor, target: Tensor) -> dict[str, Any]:
    """Return what a calibration does to a split.

    Args:
        calibration: The calibration.
        logits: The split's logits.
        target: Its classes.

    Returns:
        `nll` and `ece`, each before and after, and the share of examples that are `known`.
    """
    logits, target = logits.double().cpu(), target.reshape(-1).long().cpu()
    temperatures = (1.0, calibration.temperature)
    described: dict[str, Any] = {
        "nll": [round(nll(logits, target, t), 5) for t in temperatures],
        "ece": [round(calibration_error(logits, target, t), 5) for t in temperatures],
    }
    if calibration.familiarity is not None:
        described["known"] = round(1 - calibration.unknown(logits).double().mean().item(), 4)
    return described


def sentence(temperature: float, described: Mapping[str, Any]) -> str:
    """Return in a line what a calibration does to a split, from `describe`."""
    (nll_before, nll_after), (ece_before, ece_after) = described["nll"], described["ece"]
    text = (
        f"temperature {temperature:.4g}: NLL {nll_before:.4f} -> {nll_after:.4f}, "
        f"ECE {ece_before:.2%} -> {ece_after:.2%}"
    )
    known = described.get("known")
    return text if known is None else f"{text}; {1 - known:.1%} are {UNKNOWN}"
