"""Is an input like anything that a network was trained on? Told by its logits alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

#: Share of the validation examples that a network claims to know.
KEPT = 0.95
#: Fewer validation examples than these say nothing about the lowest twentieth of them.
FEWEST_EXAMPLES = 100
#: Of more classes the covariances would be larger than most networks.
MOST_CLASSES = 20
# A tenth of each covariance is its mean variance in all directions: of 0.001, 0.01 and 0.1 the
# best on validation images (digits against garments and the other way round, seven networks).
SHRINKAGE = 0.1


@dataclass(frozen=True)
class Familiarity:
    """A score for how much logits are like those of validation examples, and its threshold.

    The score is a sum of two, each divided by how far its lowest twentieth lies below its median:

    - the energy, `logsumexp(logits)` (W. Liu et al. 2020, "Energy-based Out-of-distribution
      Detection"): are there high logits?
    - the density of the logits, the highest of one Gaussian per class (K. Lee et al. 2018, "A
      Simple Unified Framework for Detecting Out-of-Distribution Samples", on logits): do they stand
      to each other as those of a class do?

    The area under the ROC curve of digits against garments, on the validation images: energy alone
    0.86 to 0.996, density alone 0.89 to 0.98, the highest probability 0.66 to 0.99, the sum 0.95
    to 0.99. Of a binary network's one logit there is the energy alone, and of one that is larger
    than all of the validation examples' only what is left when the excess is taken off twice.

    Attributes:
        threshold: Inputs with a lower score are unknown.
        limit: The largest energy of the validation examples of a binary network.
        energy_scale: What the energy is divided by.
        density_scale: What the density is divided by.
        means: Mean logits of each class (classes, logits); nothing if the energy stands alone.
        precisions: Inverse covariances (classes, logits, logits).
    """

    threshold: float
    limit: float | None = None
    energy_scale: float = 1.0
    density_scale: float = 1.0
    means: list[list[float]] | None = None
    precisions: list[list[list[float]]] | None = None

    @classmethod
    def fit(cls, logits: Tensor, target: Tensor) -> Self | None:
        """Fit it to validation examples.

        Args:
            logits: (N, logits) float64.
            target: Their classes (N,).

        Returns:
            The score that keeps 95 % of them; None if they are too few.
        """
        if len(logits) < FEWEST_EXAMPLES:
            return None
        width = logits.shape[1]
        classes = max(2, width)
        parts = [logits[target == k] for k in range(classes)]
        fitted: dict[str, Any] = {"energy_scale": _spread(_energy(logits))}
        if width == 1:
            fitted["limit"] = _energy(logits).max().item()
        elif classes <= MOST_CLASSES and min(map(len, parts)) > 2 * width:
            means = [part.mean(0) for part in parts]
            precisions = [_precision(part - mean) for part, mean in zip(parts, means, strict=True)]
            fitted["means"], fitted["precisions"] = _rounded([means, precisions])
            if _is_finite(fitted["precisions"]):
                density = cls(0.0, **fitted)._density(logits)
                fitted["density_scale"] = _spread(density)
            else:
                fitted["means"] = fitted["precisions"] = None
        scores = cls(0.0, **fitted).score(logits).sort().values
        lost = int((1 - KEPT) * len(scores))
        # Between two examples, so that rounding elsewhere moves none of them across.
        threshold = (scores[max(0, lost - 1)] + scores[lost]).item() / 2
        return cls(threshold - 1e-6 * abs(threshold), **fitted)

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """Return it of plain values, as a weights file has them.

        Raises:
            ValueError: If they are not finite or do not fit each other.
            TypeError: If they are of another kind.
        """
        made = cls(**described)
        numbers = [made.energy_scale, made.density_scale]
        if not _is_finite([made.threshold, made.limit or 0.0, *numbers]) or min(numbers) <= 0:
            raise ValueError("a score for the unknown that is no number")
        if (made.means is None) != (made.precisions is None):
            raise ValueError("means without precisions")
        if made.means is not None:
            means, precisions = torch.tensor(made.means), torch.tensor(made.precisions)
            if means.ndim != 2 or precisions.shape != (*means.shape, means.shape[1]):
                raise ValueError("means and precisions that do not fit each other")
            if not _is_finite(made.means) or not _is_finite(made.precisions):
                raise ValueError("means or precisions that are no numbers")
        return made

    def unknown(self, logits: Tensor) -> Tensor:
        """Return which examples (N,) are unknown, bool."""
        return (self.score(logits) < self.threshold).to(logits.device)

    def score(self, logits: Tensor) -> Tensor:
        """Return how familiar examples are (N,), float64 on the CPU; the higher, the more."""
        logits = logits.detach().cpu().double()
        energy = _energy(logits)
        if self.limit is not None:
            energy = energy - 2 * (energy - self.limit).clamp(min=0)
        score = energy / self.energy_scale
        return score if self.means is None else score + self._density(logits) / self.density_scale

    def _density(self, logits: Tensor) -> Tensor:
        means = torch.tensor(self.means, dtype=torch.float64)
        precisions = torch.tensor(self.precisions, dtype=torch.float64)
        highest = torch.full((len(logits),), -math.inf, dtype=torch.float64)
        for mean, precision in zip(means, precisions, strict=True):
            away = logits - mean
            distance = (away @ precision * away).sum(1)
            highest = highest.maximum((precision.logdet() - distance) / 2)
        return highest


def _energy(logits: Tensor) -> Tensor:
    if logits.shape[1] == 1:  # of the two classes
        return logits.abs().squeeze(1) / 2
    return logits.logsumexp(1)


def _precision(away: Tensor) -> Tensor:
    """Return the inverse of a shrunken covariance."""
    covariance = away.T @ away / len(away)
    mean_variance = covariance.diagonal().mean().clamp(min=1e-12)
    eye = torch.eye(len(covariance), dtype=covariance.dtype)
    return torch.linalg.inv((1 - SHRINKAGE) * covariance + SHRINKAGE * mean_variance * eye)


def _spread(scores: Tensor) -> float:
    ordered = scores.sort().values  # torch's quantile takes no more than 16 million
    low, middle = (ordered[int(share * len(ordered))].item() for share in (1 - KEPT, 0.5))
    return float(f"{middle - low:.6g}") if middle > low else 1.0


def _rounded(values: Any) -> Any:
    """Return tensors in lists as plain numbers of six digits."""
    if isinstance(values, Tensor):
        return _rounded(values.tolist())
    return [_rounded(v) for v in values] if isinstance(values, list) else float(f"{values:.6g}")


def _is_finite(values: Any) -> bool:
    if isinstance(values, list):
        return all(map(_is_finite, values))
    return math.isfinite(values)
