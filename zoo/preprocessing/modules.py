"""The modules that turn raw batches into what a backbone reads: pixels, numbers, words, columns."""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from datamodules.following import same_encoding
from zoo.errors import UserError
from zoo.preprocessing.tables import TablePreprocessing

#: The shape of one raw example; of several inputs the shape of each, in their list or dictionary.
InputShape = Sequence[Any] | dict[str, Any]


# Augmentation may overshoot 1, and noise in a test reach 6; from 0 to 255 is nothing like it.
LARGEST_FLOAT = 16.0


class Pixels(nn.Module):
    """Scale images: bytes to 0-1, then `(x - mean) / std`. Floats are taken to be 0-1 already.

    Shape: (N, C, H, W) uint8 or float -> (N, C, H, W) float.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, input_shape: Sequence[int], mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.output_shape = tuple(input_shape)
        self.register_buffer("mean", torch.tensor(float(mean)))
        self.register_buffer("std", torch.tensor(float(std)))
        self.scaled_only = mean == 0.0 and std == 1.0
        self._seen = False
        self.register_load_state_dict_post_hook(Pixels._take_up_loaded)

    def _take_up_loaded(self, _: Any) -> None:
        """Follow loaded numbers: weights may scale otherwise than the data they now train on."""
        self.scaled_only = self.mean.item() == 0.0 and self.std.item() == 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled images in the dtype of the network.

        Raises:
            UserError: If they have other channels or another size, or are floats beyond 0-1.
        """
        if not torch.compiler.is_compiling() and not torch.jit.is_tracing():
            self._check(x)
        is_scaled, x = x.is_floating_point(), x.to(self.mean.dtype)
        if not is_scaled:
            x = x.div_(255)  # in place: no bytes are floats yet, so nobody else sees these
        return x if self.scaled_only else (x - self.mean) / self.std

    def _check(self, x: Tensor) -> None:
        """Refuse what would be read wrongly; floats in evaluation and in the first batch."""
        if x.ndim == 4 and tuple(x.shape[1:]) != self.output_shape:
            given, wanted = ("x".join(map(str, s)) for s in (x.shape[1:], self.output_shape))
            advice = "Scale them to that size."
            if x.shape[1] != self.output_shape[0]:
                advice = "x.mean(1, keepdim=True) makes RGB grey, x.expand(-1, 3, -1, -1) grey RGB."
            raise UserError(
                f"The network reads images of {wanted} (channels x height x width), not {given}. "
                f"{advice}"
            )
        if x.is_floating_point() and x.numel() and not (self.training and self._seen):
            self._seen = True
            if (largest := float(x.max())) > LARGEST_FLOAT:
                raise UserError(
                    f"Images as floats are from 0 to 1, but these reach {largest:g}. Divide them "
                    "by 255, or pass bytes (uint8)."
                )


class Numbers(nn.Module):
    """Take numbers as they are, as floats of the network's dtype.

    Of several inputs those that are no floats stay what they are: they may be numbers of tokens.
    """

    dtype_of: Tensor

    def __init__(self, input_shape: InputShape) -> None:
        super().__init__()
        several = structure(input_shape) != structure([0] * len(input_shape))
        self.output_shape = input_shape if several else tuple(input_shape)
        self.register_buffer("dtype_of", torch.tensor(0.0), persistent=False)

    def forward(self, x: Any) -> Any:
        """Return `x` as floats."""
        if isinstance(x, Tensor):
            return x.to(self.dtype_of.dtype)
        return apply_to_collection(
            x, Tensor, lambda part: self(part) if part.is_floating_point() else part
        )


class Tokens(nn.Module):
    """Embed token ids; id 0 is padding, 1 an unknown word.

    Shape: (N, T) int64 -> (N, T, embedding_dim) float.
    """

    def __init__(
        self, input_shape: Sequence[int], vocabulary: list[str], embedding_dim: int = 64
    ) -> None:
        super().__init__()
        self.output_shape = (*input_shape, embedding_dim)
        self.embedding = nn.Embedding(len(vocabulary), embedding_dim, padding_idx=0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings."""
        return self.embedding(x)


def read_the_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Say whether networks with these preprocessings can read the same raw batch.

    Pixels are pixels, scaled as each likes; columns and words have places that only their own data
    agree with.
    """
    if one["kind"] == other["kind"] == "pixels":
        return True
    beside = [[p.get(key) for key in ("target", "embedding_dim")] for p in (one, other)]
    return beside[0] == beside[1] and same_encoding(one, other)


def structure(values: Any) -> Any:
    """Return how inputs are nested, to compare: lists and dictionaries with None for each input."""
    if isinstance(values, dict):
        return {name: structure(value) for name, value in values.items()}
    return [structure(value) for value in values] if isinstance(values, (tuple, list)) else None


def build(preprocessing: dict[str, Any], input_shape: InputShape) -> nn.Module:
    """Build the module that turns raw batches into what the backbone reads.

    Args:
        preprocessing: A datamodule's plain description: `kind` is `pixels`, `table`, `tokens` or
            `none`, the rest belongs to that kind.
        input_shape: The shape of one raw example; of several inputs, each one's.

    Returns:
        A module with `output_shape`, the shape of one example that it gives.
    """
    options = {k: v for k, v in preprocessing.items() if k not in ("kind", "target")}
    kind = preprocessing["kind"]
    if kind == "pixels":  # cropping and polarity are done to the file, before it is a tensor
        options = {key: options[key] for key in ("mean", "std") if key in options}
        return Pixels(cast(Sequence[int], input_shape), **options)
    if kind == "tokens":
        options = {k: options[k] for k in ("vocabulary", "embedding_dim") if k in options}
        return Tokens(cast(Sequence[int], input_shape), **options)
    if kind == "table":
        return TablePreprocessing(preprocessing)
    if kind == "none":
        return Numbers(input_shape)
    raise UserError(f"There is no preprocessing '{kind}'; known: pixels, table, tokens, none.")


def example_input(preprocessing: dict[str, Any], input_shape: InputShape) -> Any:
    """Return two valid raw examples, for drawing the graph and for export."""
    if isinstance(input_shape, dict):
        return {k: example_input(preprocessing, shape) for k, shape in input_shape.items()}
    if any(isinstance(part, (tuple, list, dict)) for part in input_shape):
        return [example_input(preprocessing, shape) for shape in input_shape]
    shape = (2, *input_shape)
    if preprocessing["kind"] == "tokens":
        return torch.ones(shape, dtype=torch.int64)
    if preprocessing["kind"] == "pixels":
        return torch.linspace(0, 1, math.prod(shape)).reshape(shape)
    return torch.zeros(shape)
