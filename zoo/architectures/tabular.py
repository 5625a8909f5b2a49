"""Networks for tables: numbers are embedded first, and several members may share one network."""

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.spec import KIND_NAMES, DataSpec
from zoo.architectures.feedforward import hidden_widths
from zoo.errors import UserError
from zoo.module import ZooModule

EmbeddingName = Literal["none", "periodic"]


class NumberEmbedding(nn.Module):
    """Each number becomes itself and waves of it: what a linear layer alone cannot tell apart.

    D. Holzmüller et al. (2024), "Better by Default" (arXiv 2407.04491): cosines whose frequencies
    and phases are learned, a linear map of each number's own, and the number beside it.

    Shape: (N, numbers + rest) -> (N, numbers * embedding_dim + rest).

    Args:
        numbers: How many of the inputs, the first ones, are numbers; the rest stays as it is.
        frequencies: Cosines of each number.
        embedding_dim: What stands for each number, itself included.
        sigma: Standard deviation of the first frequencies.
    """

    def __init__(self, numbers: int, frequencies: int, embedding_dim: int, sigma: float) -> None:
        super().__init__()
        self.numbers, self.waves = numbers, embedding_dim > 1
        if self.waves:
            bound = 1 / math.sqrt(frequencies)
            self.frequency = nn.Parameter(torch.randn(numbers, frequencies) * sigma)
            self.phase = nn.Parameter(torch.empty(numbers, frequencies).uniform_(-math.pi, math.pi))
            shape = numbers, frequencies, embedding_dim - 1
            self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
            self.bias = nn.Parameter(torch.empty(numbers, 1, shape[2]).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings side by side, and the rest after them."""
        numbers, rest = x[:, : self.numbers], x[:, self.numbers :]
        parts = [numbers, rest]
        if self.waves:
            angle = 2 * math.pi * numbers.T.unsqueeze(-1) * self.frequency.unsqueeze(1)
            waves = torch.cos(angle + self.phase.unsqueeze(1))  # (numbers, N, frequencies)
            embedded = torch.baddbmm(self.bias, waves, self.weight)
            parts.append(embedded.transpose(0, 1).flatten(1))
        return torch.cat(parts, dim=1)


class MemberLinear(nn.Linear):
    """One linear layer for all members, with factors and a bias of each one's own.

    Y. Gorishniy et al. (2025), "TabM" (arXiv 2410.24210), after BatchEnsemble: a member's weights
    are the shared ones times an outer product, which costs a vector for the inputs and one for the
    outputs.

    Shape: (N, in) of what all members read, or (N, members, in) -> (N, members, out).

    Args:
        in_features: Inputs.
        out_features: Outputs.
        members: How many there are.
        signs: Draw the factors of the inputs as 1 or -1: it is what makes members differ, and
            belongs into the first layer alone.
    """

    def __init__(self, in_features: int, out_features: int, members: int, signs: bool) -> None:
        super().__init__(in_features, out_features, bias=False)
        factors = torch.ones(members, in_features)
        if signs:
            factors = torch.randint(2, factors.shape) * 2.0 - 1
        self.inputs = nn.Parameter(factors)
        self.outputs = nn.Parameter(torch.ones(members, out_features))
        bound = 1 / math.sqrt(in_features)
        self.biases = nn.Parameter(torch.empty(members, out_features).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Return every member's outputs."""
        x = x.unsqueeze(1) if x.ndim == 2 else x
        return torch.addcmul(self.biases, super().forward(x * self.inputs), self.outputs)


class MemberHead(nn.Module):
    """A linear layer for each member.

    Shape: (N, members * width), the members' features side by side -> (N, members, out).
    """

    def __init__(self, in_features: int, out_features: int, members: int) -> None:
        super().__init__()
        self.in_features = in_features
        shape = members, in_features // members, out_features
        bound = 1 / math.sqrt(shape[1])
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, out_features).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Return every member's outputs."""
        x = x.unflatten(1, self.weight.shape[:2]).transpose(0, 1)
        return torch.baddbmm(self.bias, x, self.weight).transpose(0, 1)


class CheapDropout(nn.Dropout):
    """Dropout whose mask costs a third on a CPU, where torch draws 64 bits for every unit.

    Here they serve for four, so that the share is rounded to 1/65536. It was a quarter of the time
    of an update of eight members: 8.8 ms for a million units, 2.7 so.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return x, in training with a share of it put to 0 and the rest scaled up."""
        dropped = round(self.p * 2**16)
        if not self.training or x.device.type != "cpu" or not 0 < dropped < 2**16:
            return super().forward(x)
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / (2**16 - dropped))


class TabularNet(ZooModule):
    """Embedded numbers and categories, then hidden layers.

    With several members it is an ensemble in one network: each has its own first signs, factors,
    biases and head, and shares the matrices. Training takes the mean of the members' losses, a
    prediction the mean of their probabilities.

    Shape: (N, features) -> (N, num_outputs).

    Args:
        spec: The data that it is for: a table, or vectors of numbers.
        hidden_dim: Width of every hidden layer, or a list with one width for each.
        num_hidden: Number of hidden layers, if `hidden_dim` is one width.
        embedding: How numbers are embedded: `periodic`, or `none` to take them as they are.
        embedding_dim: What stands for each number, itself included.
        frequencies: Cosines of each number.
        sigma: Standard deviation of the first frequencies: higher ones follow finer steps.
        dropout: Share of the hidden units that are dropped out in training.
        members: Members of the ensemble; 1 is a plain network.

    Raises:
        UserError: If the data are neither a table nor vectors, or a number is out of range.
    """

    def __init__(
        self,
        spec: DataSpec,
        hidden_dim: int | list[int] = 256,
        num_hidden: int = 3,
        embedding: EmbeddingName = "periodic",
        embedding_dim: int = 4,
        frequencies: int = 16,
        sigma: float = 0.1,
        dropout: float = 0.1,
        members: int = 1,
    ) -> None:
        super().__init__(spec)
        if self.spec.kind not in ("table", "none") or len(self.feature_shape) != 1:
            raise UserError(
                f"TabularNet reads tables, or vectors of numbers, not "
                f"{KIND_NAMES[self.spec.kind]} of the shape {self.spec.input_shape}."
            )
        for name in ("num_hidden", "embedding_dim", "frequencies", "members"):
            if self.hparams[name] < 1:
                raise UserError(f"--model.{name} must be at least 1, not {self.hparams[name]}.")
        self.members = members
        is_table = self.spec.kind == "table"
        width = self.feature_shape[0]
        numbers = int(self.preprocess.num_numeric) if is_table else width  # type: ignore[arg-type]
        embedding_dim = 1 if embedding == "none" else embedding_dim
        embed = NumberEmbedding(numbers, frequencies, embedding_dim, sigma)
        width += numbers * (embedding_dim - 1)
        widths = hidden_widths(hidden_dim, None if isinstance(hidden_dim, list) else num_hidden)
        if not widths:
            raise UserError("--model.hidden_dim needs at least one hidden layer.")
        self.backbone = nn.Sequential(embed, *self._hidden(width, widths, dropout))
        self.head = self._linear_head(members * widths[-1], self.num_outputs)

    def _hidden(self, width: int, widths: list[int], dropout: float) -> Iterator[nn.Module]:
        """Yield the hidden layers."""
        for number, following in enumerate(widths):
            if self.members > 1:
                yield MemberLinear(width, following, self.members, signs=number == 0)
            else:
                yield nn.Linear(width, following)
            yield nn.SiLU()
            if dropout:
                yield CheapDropout(dropout)
            width = following
        if self.members > 1:
            yield nn.Flatten()

    def _linear_head(self, width: int, num_outputs: int) -> nn.Module:
        if self.members > 1:
            return MemberHead(width, num_outputs, self.members)
        return nn.Linear(width, num_outputs)

    def make_head(self, num_outputs: int) -> nn.Module:
        """Build a new head, one for each member."""
        return self._linear_head(int(self.head.in_features), num_outputs)  # type: ignore[arg-type]

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits (N, num_outputs): of the members' mean probability, or their mean value."""
        outputs = self.head(features)
        if self.members == 1:
            return outputs
        if self.spec.task == "regression":
            return outputs.mean(dim=1)
        if self.spec.task == "binary":  # as two classes, whose logits are 0 and the output
            yes, no = (F.logsigmoid(sign * outputs).logsumexp(dim=1) for sign in (1, -1))
            return yes - no
        return F.log_softmax(outputs, dim=-1).logsumexp(dim=1) - math.log(self.members)

    def _answer(self, batch: tuple[Any, Tensor]) -> tuple[Any, Tensor, Tensor]:
        """Return inputs, targets and logits; in training every member's, as examples of its own."""
        if self.members == 1 or not self.training:
            return super()._answer(batch)
        x, target = batch
        outputs = self.head(self.forward_features(x))
        x, target = (t.repeat_interleave(self.members, dim=0) for t in (x, target))
        return x, target, outputs.flatten(0, 1)
