"""Data for a network that was made with other data: what can be mapped, and what is refused."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from datamodules.errors import UserError, nearest

#: What networks with each kind of preprocessing read.
KIND_NAMES = {"pixels": "images", "table": "tables", "tokens": "texts", "none": "numbers"}
ADVICE = (
    "Use data like those that it was made with, or make a network for these: "
    "create_model(..., datamodule=...)."
)


class UnlikeTrainingWarning(UserWarning):
    """Some of the data are like none that the network was trained on."""


@dataclass(frozen=True)
class Expected:
    """What a network was made for.

    Attributes:
        input_shape: Shape of one raw example.
        task: `binary`, `multiclass` or `regression`.
        num_outputs: Values that its head gives.
        class_names: Its classes, in the order of its outputs; None for a head that was made for a
            number of classes, whichever they are.
        preprocessing: How it reads raw input, as plain JSON.
    """

    input_shape: tuple[int, ...]
    task: str
    num_outputs: int
    class_names: list[str] | None
    preprocessing: dict[str, Any]

    @classmethod
    def by(cls, network: Any) -> "Expected | None":
        """Return what a network expects; None for one that does not say it."""
        said = getattr(network, "data_arguments", None)
        if said is None:
            return None
        return cls(**{**said, "input_shape": tuple(said["input_shape"])})

    @property
    def kind(self) -> str:
        """The kind of its preprocessing."""
        return self.preprocessing["kind"]

    @property
    def num_classes(self) -> int:
        """How many classes it tells apart; 0 for a regression."""
        return {"binary": 2, "multiclass": self.num_outputs, "regression": 0}[self.task]

    def require(self, kind: str) -> None:
        """Refuse data of another kind than the network reads.

        Numbers without any preprocessing are read as they come, and so may be pixels.

        Raises:
            UserError: If the network reads something else than data with this preprocessing.
        """
        if kind != self.kind and (self.kind, kind) != ("none", "pixels"):
            raise UserError(
                f"The network reads {KIND_NAMES.get(self.kind, self.kind)}, but these data are "
                f"{KIND_NAMES.get(kind, kind)}. {ADVICE}"
            )

    def names_for(self, own: list[str]) -> list[str]:
        """Return the classes in the network's order: its own, or those of data if it names none."""
        return own if self.class_names is None else self.class_names

    def numbers_of(self, own: list[str]) -> np.ndarray:
        """Return the number that each class of the data has with the network.

        Args:
            own: The classes of the data.

        Returns:
            (len(own),) int64.

        Raises:
            UserError: If the network does not know one of them, or predicts no classes.
        """
        if bool(own) != (self.task != "regression"):
            raise UserError(_other_task(self.task == "regression", own))
        if self.class_names is None:
            if len(own) != self.num_classes:
                raise UserError(
                    f"The network tells {self.num_classes} classes apart and does not know their "
                    f"names; these data have {len(own)}: {_listed(own)}. Name them with "
                    "reset_head(..., class_names=[...])."
                )
            return np.arange(len(own))
        for name in own:
            if name not in self.class_names:
                close = nearest(name, self.class_names, 1)
                advice = f" Is it '{close[0]}'?" if close else ""
                raise UserError(
                    f"The network does not know class '{name}' of these data, only "
                    f"{_listed(self.class_names)}.{advice} Leave its examples out, or give the "
                    "network a new head with reset_head(..., class_names=[...])."
                )
        return np.array([self.class_names.index(name) for name in own], dtype=np.int64)


def disagreement(expected: Expected, data: Any) -> str:
    """Say in one sentence why a network cannot read a datamodule's batches as they are.

    Args:
        expected: What the network was made for.
        data: A datamodule with `input_shape`, `task`, `num_outputs`, `class_names` and
            `preprocessing`.

    Returns:
        The sentence; nothing if they fit together.
    """
    kind, described = expected.kind, data.preprocessing
    if kind in ("table", "tokens") and not same_encoding(described, expected.preprocessing):
        what = "columns, scales or categories" if kind == "table" else "vocabulary"
        return f"These data are encoded with other {what} than the network's."
    if tuple(data.input_shape) != expected.input_shape:
        return (
            f"The network reads examples of the shape {expected.input_shape}; these data have "
            f"{tuple(data.input_shape)}."
        )
    if (data.task == "regression") != (expected.task == "regression"):
        return _other_task(expected.task == "regression", data.class_names)
    if expected.task == "regression":
        return _other_targets(expected, data)
    own = list(data.class_names)
    if expected.class_names is None and len(own) != expected.num_classes:
        return (
            f"The network tells {expected.num_classes} classes apart; these data have {len(own)}."
        )
    if expected.names_for(own) != own:
        return (
            f"The network's classes are {_listed(expected.names_for(own))}, in this order; those "
            f"of these data are {_listed(own)}."
        )
    if data.task != expected.task:  # two classes are one number, or two
        return f"The network's task is {expected.task}, that of these data {data.task}."
    return ""


def encoding(preprocessing: dict[str, Any]) -> dict[str, Any]:
    """Return what of a preprocessing is about raw input."""
    apart = ("target", "embedding_dim")
    return {key: value for key, value in preprocessing.items() if key not in apart}


def same_encoding(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Say whether two preprocessings turn the same raw input into the same numbers.

    What is only told of the training rows, and weights of before do not have, makes no difference.
    """

    def plain(preprocessing: dict[str, Any]) -> dict[str, Any]:
        told = ("low", "high", "share_missing")
        entries = {
            kind: [{k: v for k, v in e.items() if k not in told} for e in preprocessing[kind]]
            for kind in ("numeric", "categorical")
            if kind in preprocessing
        }
        return {**encoding(preprocessing), **entries}

    return plain(one) == plain(other)


def check(expected: Expected, data: Any) -> None:
    """Refuse data that a network cannot read.

    Raises:
        UserError: Which says what does not fit, and what to do.
    """
    # Another LightningDataModule says nothing of its data: whoever wrote it knows what it gives.
    if not all(hasattr(data, name) for name in Expected.__dataclass_fields__):
        return
    expected.require(data.preprocessing["kind"])
    if sentence := disagreement(expected, data):
        raise UserError(f"{sentence} {ADVICE}")


def _other_task(is_regression: bool, own: list[str]) -> str:
    if is_regression:
        return f"The network predicts quantities; these data have classes: {_listed(own)}."
    return "The network tells classes apart; the target of these data is a quantity."


def _other_targets(expected: Expected, data: Any) -> str:
    if data.num_outputs != expected.num_outputs:
        return f"The network predicts {expected.num_outputs} numbers, not {data.num_outputs}."
    names, own = (
        p.get("target", {}).get("names") for p in (expected.preprocessing, data.preprocessing)
    )
    if names and own and len(names) > 1 and names != own:
        return f"The network predicts {', '.join(names)}, in this order, not {', '.join(own)}."
    return ""


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
