"""How a network reads a table: scaling, missing values and categories, as part of the network."""

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import UserError

# Categories with at most so many values start as one-hot codes; more get shorter embeddings.
ONE_HOT_UP_TO = 10
MAX_EMBEDDING = 32
# What float32, in which rows are read, tells apart; each code takes a place in a list.
MOST_CODES = 2**24


def embedding_width(values: int) -> int:
    """Return how many numbers stand for one of so many values.

    One each while they are few; then 1.6 n^0.56 (the rule of fastai's tabular learner), which is 6
    for 11 values and 21 for 100.
    """
    if values <= ONE_HOT_UP_TO:
        return max(values, 1)
    return min(MAX_EMBEDDING, round(1.6 * values**0.56))


class CodeEmbedding(nn.Module):
    """A learnt row for each known value of numbers that are codes; zeros for any other.

    Values are compared one by one, which every exporter knows, rather than looked up.

    Shape: (N,) -> (N, width).
    """

    values: Tensor

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.width = embedding_width(len(values))
        self.register_buffer("values", torch.tensor(values, dtype=torch.get_default_dtype()))
        table = torch.randn(len(values), self.width) / math.sqrt(self.width)
        self.weight = nn.Parameter(table)

    def forward(self, x: Tensor) -> Tensor:
        """Return the rows of values."""
        return (x.unsqueeze(1) == self.values).to(self.weight.dtype) @ self.weight


def width_of(entry: dict[str, Any]) -> int:
    """Return how many numbers stand for a category column, as its preprocessing describes it.

    A one-hot code of a column with missing values has one more place, for them. A column that got
    categories after its training keeps the width of before.
    """
    if "width" in entry:
        return min(max(int(entry["width"]), 1), MAX_EMBEDDING)
    values = len(entry["vocabulary"])
    one_hot = values + bool(entry.get("missing", True))
    return one_hot if values <= ONE_HOT_UP_TO else embedding_width(values)


class TablePreprocessing(nn.Module):
    """Turns rows with missing values and category codes into the numbers a backbone reads.

    A numeric feature becomes `(x - mean) / std`, of its logarithm if it is skewed; where it is
    missing it becomes 0, the mean, with an indicator beside it if asked for. With `edges` it is
    followed by a piecewise linear code: how far it reaches through each of its quantile bins
    (Gorishniy et al., 2022). With `values`, as codes of places have, a learnt row for each of them
    stands beside it. A category becomes a row of a learnt table that has slots of their own
    for missing and for unseen values.

    Shape: (N, numeric + categorical) float, NaN for missing, -1 for unseen -> (N, width) float.

    Args:
        preprocessing: The `preprocessing` of a tabular datamodule.
    """

    mean: Tensor
    std: Tensor
    logs: Tensor
    indicators: Tensor
    bin_feature: Tensor
    bin_low: Tensor
    bin_width: Tensor
    bin_floor: Tensor
    bin_ceiling: Tensor
    slots: Tensor
    starts: Tensor
    limits: Tensor
    kept: Tensor

    def __init__(self, preprocessing: dict[str, Any]) -> None:
        super().__init__()
        numeric, categorical = preprocessing["numeric"], preprocessing["categorical"]
        self.num_numeric = len(numeric)
        self.clip = float(preprocessing.get("clip") or math.inf)
        floats = torch.get_default_dtype()
        for name in ("mean", "std"):
            values = torch.tensor([entry[name] for entry in numeric], dtype=floats)
            self.register_buffer(name, values)
        self._indices("logs", [i for i, e in enumerate(numeric) if e.get("log")])
        self._indices("indicators", [i for i, e in enumerate(numeric) if e.get("indicator")])
        width = self.num_numeric + len(self.indicators)
        width += self._build_bins([entry.get("edges") or [] for entry in numeric])
        width += self._build_embeddings(categorical)
        self.code_features = [i for i, entry in enumerate(numeric) if entry.get("values")]
        embeddings = [CodeEmbedding(numeric[i]["values"]) for i in self.code_features]
        self.codes = nn.ModuleList(embeddings)
        width += sum(embedding.width for embedding in embeddings)
        self.output_shape = (width,)

    def _indices(self, name: str, values: list[int]) -> None:
        tensor = torch.tensor(values, dtype=torch.int64)
        self.register_buffer(name, tensor, persistent=False)

    def _build_bins(self, edges: list[list[float]]) -> int:
        """Keep the lower edge and the width of every bin, side by side for all features."""
        binned = [
            (i, e, k, len(edge) - 2)
            for i, edge in enumerate(edges)
            if len(edge) > 2
            for k, e in enumerate(itertools.pairwise(edge))
        ]
        self._indices("bin_feature", [i for i, _, _, _ in binned])
        floats = torch.get_default_dtype()
        self.register_buffer("bin_low", torch.tensor([e[0] for _, e, _, _ in binned], dtype=floats))
        widths = [e[1] - e[0] for _, e, _, _ in binned]
        self.register_buffer("bin_width", torch.tensor(widths, dtype=floats))
        # The first bin is open below and the last above, so that no value is lost.
        floor = [-1.0 if k == 0 else 0.0 for _, _, k, _ in binned]
        ceiling = [2.0 if k == last else 1.0 for _, _, k, last in binned]
        for name, values in (("bin_floor", floor), ("bin_ceiling", ceiling)):
            self.register_buffer(name, torch.tensor(values, dtype=floats), persistent=False)
        return len(binned)

    def _build_embeddings(self, categorical: list[dict[str, Any]]) -> int:
        """Keep one table for all categories: row = slot of a value, columns = its embedding.

        Every column of the file has the slots of its values, then one for missing and one for
        unseen ones. Shorter embeddings leave the rest of the columns unread.
        """
        lookup: list[int] = []
        starts, limits, kept, weights = [], [], [], []
        slots = 0
        highest_codes = [max(entry.get("codes") or [0]) for entry in categorical]
        lowest = min((min(entry.get("codes") or [0]) for entry in categorical), default=0)
        if lowest < 0 or sum(highest_codes) > MOST_CODES:
            raise UserError(f"Codes of categories are from 0 to {MOST_CODES:,} in all.")
        sizes = [len(entry["vocabulary"]) for entry in categorical]
        widths = [width_of(entry) for entry in categorical]
        widest = max(widths, default=0)
        for i, entry in enumerate(categorical):
            codes = entry.get("codes") or list(range(sizes[i]))
            highest = max(codes, default=-1)
            unseen = slots + sizes[i] + 1
            places = [unseen] * (highest + 1)
            for slot, code in enumerate(codes):
                places[code] = slots + slot
            # In front of the codes: missing, unseen. So code + 2 is the place.
            starts.append(len(lookup))
            lookup += [unseen - 1, unseen, *places, unseen]
            limits.append(highest + 3)
            kept += [i * widest + k for k in range(widths[i])]
            weights.append(_initial(sizes[i], widths[i], widest))
            slots = unseen + 1
        for name, values in (("slots", lookup), ("starts", starts), ("limits", limits)):
            self._indices(name, values)
        self._indices("kept", kept)
        self.embedding = nn.Embedding(slots, widest) if categorical else None
        if self.embedding is not None:
            with torch.no_grad():
                self.embedding.weight.copy_(torch.cat(weights))
        return len(kept)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the backbone reads."""
        x = x.to(self.mean.dtype) if not x.is_floating_point() else x
        parts = []
        if self.num_numeric:
            parts += self._numbers(x[:, : self.num_numeric])
        if self.embedding is not None:
            parts.append(self._categories(x[:, self.num_numeric :], self.embedding))
        parts += [code(x[:, i]) for i, code in zip(self.code_features, self.codes, strict=True)]
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]

    def _numbers(self, x: Tensor) -> list[Tensor]:
        missing = torch.isnan(x)
        if len(self.logs):
            chosen = x[:, self.logs]
            x = x.index_copy(1, self.logs, chosen.sign() * chosen.abs().log1p())
        # float32 keeps what a network in bf16 would lose in the subtraction.
        scaled = ((x - self.mean) / self.std).clamp(-self.clip, self.clip)
        parts = [scaled.masked_fill(missing, 0.0)]
        if len(self.bin_feature):
            values = x.masked_fill(missing, 0.0).index_select(1, self.bin_feature)
            code = (values - self.bin_low) / self.bin_width
            code = torch.minimum(torch.maximum(code, self.bin_floor), self.bin_ceiling)
            parts.append(code.masked_fill(missing.index_select(1, self.bin_feature), 0.0))
        if len(self.indicators):
            parts.append(missing.index_select(1, self.indicators).to(scaled.dtype))
        return parts

    def _categories(self, x: Tensor, embedding: nn.Embedding) -> Tensor:
        codes = torch.nan_to_num(x, nan=-2.0).long() + 2
        places = torch.minimum(codes.clamp(min=0), self.limits) + self.starts
        embedded = embedding(self.slots[places]).flatten(1)
        return embedded.index_select(1, self.kept)


def _initial(values: int, width: int, widest: int) -> Tensor:
    """Return the first embeddings of a column: its values, missing, unseen (zero: none of them)."""
    weight = torch.zeros(values + 2, widest)
    if values <= ONE_HOT_UP_TO:
        weight[:width, :width] = torch.eye(width)
    else:
        weight[:-1, :width] = torch.randn(values + 1, width) / math.sqrt(width)
    return weight
