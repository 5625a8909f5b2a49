"""Recurrent networks, which read an image row by row or a sentence word by word."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from datamodules.spec import DataSpec
from zoo.errors import UserError
from zoo.module import ZooModule

UNKNOWN_ID = 1  # of the word that no vocabulary has
Layers = nn.RNN | nn.LSTM | nn.GRU
LAYERS: dict[str, type[Layers]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class SequenceNet(ZooModule):
    """What recurrent networks share: the data as a sequence of vectors.

    An image is a sequence of its rows, a sentence one of its words' embeddings.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        if len(self.feature_shape) < 2:
            raise UserError(
                f"{type(self).__name__} reads sequences: images row by row, or text. "
                f"These data are single vectors of {self.feature_shape[0]}."
            )
        *channels, _, width = self.feature_shape
        self.step_features = (channels[0] if channels else 1) * width

    def as_sequence(self, x: Tensor) -> Tensor:
        """Return a raw batch as (N, steps, step_features)."""
        x = self.preprocess(x)
        if x.ndim == 4:  # (N, channels, rows, columns): a step is a row of all channels
            x = x.transpose(1, 2).flatten(2)
        return x

    def lengths(self, x: Tensor) -> Tensor | None:
        """Return how many steps of each raw example are not padding, or None if all are."""
        if self.spec.preprocessing["kind"] != "tokens":
            return None
        return (x != 0).sum(dim=1).clamp(min=1)


class WordDropout(nn.Module):
    """Read some words of a sentence as the unknown one in training.

    Shape: token ids (N, words) -> (N, words).
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return the ids; padding stays what it is."""
        if not self.training or not self.share:
            return x
        left_out = torch.rand(x.shape, device=x.device) < self.share
        return torch.where(left_out & (x != 0), UNKNOWN_ID, x)


class Recurrent(SequenceNet):
    """nn.RNN, nn.LSTM or nn.GRU over the sequence; its last state, or its largest, is the features.

    Document 003, "Recurrent Neural Networks": in both directions the two last states stand side
    by side. Padded sequences are packed, so padding changes nothing.

    Shape: images (N, channels, rows, columns) or token ids (N, words) -> (N, num_outputs).

    Args:
        spec: The data that it is for.
        cell: `rnn` (tanh), `lstm` or `gru`.
        hidden_dim: Size of the hidden state.
        num_layers: Recurrent layers on top of each other.
        bidirectional: Read the sequence backwards too.
        dropout: Share dropped out between the layers and before the head in training.
        input_dropout: Share of the first layer's inputs dropped out in training.
        word_dropout: Share of the words of a sentence read as the unknown one in training.
        pooling: `last` takes each direction's last state; `max` the largest value of each feature
            over all steps.

    Raises:
        UserError: If the data are no sequences, or an argument is out of its range.
    """

    backbone: Layers

    def __init__(
        self,
        spec: DataSpec,
        cell: Literal["rnn", "lstm", "gru"] = "lstm",
        hidden_dim: int = 128,
        num_layers: int = 2,
        bidirectional: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        word_dropout: float = 0.0,
        pooling: Literal["last", "max"] = "last",
    ) -> None:
        super().__init__(spec)
        if not 0 <= word_dropout < 1:
            raise UserError(f"--model.word_dropout must be from 0 to below 1, not {word_dropout}.")
        if pooling not in ("last", "max"):
            raise UserError(f"--model.pooling must be last or max, not {pooling}.")
        for option, value in {"hidden_dim": hidden_dim, "num_layers": num_layers}.items():
            if value < 1:
                raise UserError(f"--model.{option} must be positive, but {value} is not.")
        self.backbone = LAYERS[cell](
            self.step_features,
            hidden_dim,
            num_layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if num_layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(dropout)
        self.input_dropout = nn.Dropout(input_dropout)
        self.word_dropout, self.pooling = WordDropout(word_dropout), pooling
        directions = 2 if bidirectional else 1
        self.head = nn.Linear(directions * hidden_dim, self.num_outputs)

    def as_sequence(self, x: Tensor) -> Tensor:
        """Return a raw batch as (N, steps, step_features), in training with words left out."""
        if self.spec.preprocessing["kind"] == "tokens":
            x = self.word_dropout(x)
        return self.input_dropout(super().as_sequence(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last layer's pooled states (N, directions * hidden_dim)."""
        sequence, lengths = self.as_sequence(x), self.lengths(x)
        if lengths is not None and torch.compiler.is_exporting():
            outputs, last = unpacked_states(self.backbone, sequence, lengths)
            return self.dropout(last if self.pooling == "last" else outputs.max(dim=1).values)
        if lengths is None:
            outputs, state = self.backbone(sequence)
        else:
            lengths = lengths.cpu()
            outputs, state = self.backbone(
                pack_padded_sequence(sequence, lengths, batch_first=True, enforce_sorted=False)
            )
        if self.pooling == "max":
            if lengths is not None:
                outputs, _ = pad_packed_sequence(outputs, True, padding_value=-math.inf)
            return self.dropout(outputs.max(dim=1).values)
        hidden = state[0] if isinstance(state, tuple) else state
        directions = 2 if self.backbone.bidirectional else 1
        return self.dropout(torch.cat([*hidden[-directions:]], dim=-1))


def unpacked_states(backbone: Layers, sequence: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the last layer's states without packing, which no exported graph can hold.

    Each layer and direction runs over all steps. Backwards a sequence is turned round within its
    length, so that its padding comes last there too; the state behind its last step is picked out.

    Args:
        backbone: The layers.
        sequence: (N, steps, features), padded at the end.
        lengths: (N,) int64, how many steps of each are no padding.

    Returns:
        All states (N, steps, directions * hidden_size), minus infinity behind the end of a
        sequence, and the last ones (N, directions * hidden_size).
    """
    steps = torch.arange(sequence.shape[1], device=sequence.device).expand(sequence.shape[:2])
    turned = lengths.unsqueeze(1) - 1 - steps
    turned = torch.where(turned < 0, steps, turned)

    def at(x: Tensor, places: Tensor) -> Tensor:
        return x.gather(1, places.unsqueeze(-1).expand(-1, -1, x.shape[-1]))

    last: list[Tensor] = []
    for layer in range(backbone.num_layers):
        states = []
        last = []
        for suffix in ("", "_reverse") if backbone.bidirectional else ("",):
            size = sequence.shape[-1]
            one = type(backbone)(size, backbone.hidden_size, batch_first=True)
            names = [name for name, _ in one.named_parameters()]
            own = {n: getattr(backbone, f"{n[:-1]}{layer}{suffix}") for n in names}
            inputs = at(sequence, turned) if suffix else sequence
            outputs, _ = torch.func.functional_call(one, own, (inputs,))
            last.append(at(outputs, lengths.unsqueeze(1) - 1).squeeze(1))
            states.append(at(outputs, turned) if suffix else outputs)
        sequence = torch.cat(states, dim=-1)
    ended = (steps >= lengths.unsqueeze(1)).unsqueeze(-1)
    return sequence.masked_fill(ended, -math.inf), torch.cat(last, dim=-1)


class LSTMCellNet(SequenceNet):
    """nn.LSTMCell stepped by hand: what nn.LSTM with one layer does, step for step.

    Document 003, "LSTM Cell".

    Shape: images (N, channels, rows, columns) or token ids (N, words) -> (N, num_outputs).

    Args:
        spec: The data that it is for.
        hidden_dim: Size of the hidden state.
        dropout: Share of the last state dropped out before the head in training.

    Raises:
        UserError: If the data are no sequences.
    """

    backbone: nn.LSTMCell

    def __init__(self, spec: DataSpec, hidden_dim: int = 128, dropout: float = 0.0) -> None:
        super().__init__(spec)
        if hidden_dim < 1:
            raise UserError(f"--model.hidden_dim must be positive, but {hidden_dim} is not.")
        self.backbone = nn.LSTMCell(self.step_features, hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_dim, self.num_outputs)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last state (N, hidden_dim), of each example's last step that is no padding."""
        sequence, lengths = self.as_sequence(x), self.lengths(x)
        # len() would fix the batch size of an exported network.
        hidden = cell = sequence.new_zeros(sequence.shape[0], self.backbone.hidden_size)
        for step, inputs in enumerate(sequence.unbind(dim=1)):
            next_hidden, next_cell = self.backbone(inputs, (hidden, cell))
            if lengths is not None:
                going_on = (step < lengths).unsqueeze(-1)
                next_hidden = torch.where(going_on, next_hidden, hidden)
                next_cell = torch.where(going_on, next_cell, cell)
            hidden, cell = next_hidden, next_cell
        return self.dropout(hidden)
