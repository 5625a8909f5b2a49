"""Arrays, tensors, columns and tables of other libraries as tensors to learn from."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from datamodules.errors import UserError


def plain_array(values: Any) -> Any:
    """Return the array of a column, table or sparse matrix of another library."""
    for convert in ("to_numpy", "toarray"):
        if hasattr(values, convert):
            return getattr(values, convert)()
    return values


def as_tensor(values: Any, what: str) -> Tensor:
    """Return a tensor of numbers; `what` they are is for the error."""
    try:
        return torch.as_tensor(plain_array(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"The {what} are no numbers: {error}.") from error


def as_inputs(x: Any) -> Tensor:
    """Return inputs as floats, or images as bytes, the channels before height and width."""
    x = as_tensor(x, "inputs")
    if x.dtype != torch.uint8:
        x = x.float()
        refuse_not_finite(x, "inputs")
    if x.ndim == 1 or (x.ndim == 3 and x.dtype == torch.uint8):  # as Keras has MNIST
        x = x.unsqueeze(1)
    channels = (1, 3, 4)
    if x.ndim == 4 and x.shape[-1] in channels and x.shape[1] not in channels:
        x = x.movedim(-1, 1).contiguous()
    return x


def refuse_not_finite(values: Tensor, what: str) -> None:
    """Refuse values (N, ...) of which some are NaN or infinite."""
    wrong = (~values.isfinite()).reshape(len(values), -1).any(1)
    if wrong.any():
        raise UserError(
            f"The {what} of {int(wrong.sum())} of {len(values)} examples are not all finite, first "
            f"of example {int(wrong.nonzero()[0])}: fill or leave them out, or pass a DataFrame, "
            "of which empty cells are read."
        )


def has_gaps(target: Tensor) -> bool:
    """Tell whether whole numbers are other than 0, 1, 2, ... without a gap."""
    found = target.unique()
    return bool((found != torch.arange(len(found))).any())


def numbered(values: Sequence[Any]) -> tuple[list[str], Tensor]:
    """Return the names of classes in order, and the number of each value's class."""
    found = sorted(set(values))
    number = {value: i for i, value in enumerate(found)}
    return [str(value) for value in found], torch.tensor([number[value] for value in values])
