"""What of a batch a network reads."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from datamodules.spec import DataSpec
from zoo.preprocessing.modules import structure


def inputs_of(batch: Sequence[Any], known: Any, spec: DataSpec) -> Any:
    """Return what a network reads of a batch: all of it but the targets, if it has any.

    Args:
        batch: What the network reads, or a list of that alone, or a pair of that and targets.
        known: How what it reads is nested, as `structure` says it; None if that is not known.
        spec: The data that the network is for.
    """
    if structure(batch) == known:
        return batch
    if len(batch) == 1:
        return batch[0]
    if len(batch) != 2:
        return batch
    inputs, rest = batch
    has_targets = _look_like_targets(rest, spec) if known is None else structure(inputs) == known
    return inputs if has_targets else batch


def _look_like_targets(values: Any, spec: DataSpec) -> bool:
    if not isinstance(values, Tensor):  # such as names of classes; but tensors are inputs
        parts = values.values() if isinstance(values, dict) else values or ()
        return not any(isinstance(part, Tensor) for part in parts)
    columns = {"binary": 1, "regression": spec.num_outputs}
    return values.ndim == 1 or (values.ndim == 2 and values.shape[1] == columns.get(spec.task))
