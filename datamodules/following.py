"""Data for a network that was made with other data: what can be mapped, and what is refused."""

from typing import Any

from datamodules.errors import UserError
from datamodules.spec import ADVICE, DataSpec, checked_shape, listed, other_task


class UnlikeTrainingWarning(UserWarning):
    """Some of the data are like none that the network was trained on."""


def disagreement(expected: DataSpec, data: Any) -> str:
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
    shape = checked_shape(data.input_shape)
    if shape != expected.input_shape:
        return (
            f"The network reads examples of the shape {expected.input_shape}; these data have "
            f"{shape}."
        )
    if (data.task == "regression") != (expected.task == "regression"):
        return other_task(expected.task == "regression", data.class_names)
    if expected.task == "regression":
        return _other_targets(expected, data)
    own = list(data.class_names)
    if expected.class_names is None and len(own) != expected.num_classes:
        return (
            f"The network tells {expected.num_classes} classes apart; these data have {len(own)}."
        )
    if expected.names_for(own) != own:
        return (
            f"The network's classes are {listed(expected.names_for(own))}, in this order; those "
            f"of these data are {listed(own)}."
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
        entries: dict[str, Any] = {
            kind: [{k: v for k, v in e.items() if k not in told} for e in preprocessing[kind]]
            for kind in ("numeric", "categorical")
            if kind in preprocessing
        }
        return {**encoding(preprocessing), **entries}

    return plain(one) == plain(other)


def check(expected: DataSpec, data: Any) -> None:
    """Refuse data that a network cannot read.

    Raises:
        UserError: Which says what does not fit, and what to do.
    """
    # Another LightningDataModule says nothing of its data: whoever wrote it knows what it gives.
    if not all(hasattr(data, name) for name in DataSpec.__dataclass_fields__):
        return
    expected.require(data.preprocessing["kind"])
    if sentence := disagreement(expected, data):
        raise UserError(f"{sentence} {ADVICE}")


def _other_targets(expected: DataSpec, data: Any) -> str:
    if data.num_outputs != expected.num_outputs:
        return f"The network predicts {expected.num_outputs} numbers, not {data.num_outputs}."
    names, own = (
        p.get("target", {}).get("names") for p in (expected.preprocessing, data.preprocessing)
    )
    if names and own and len(names) > 1 and names != own:
        return f"The network predicts {', '.join(names)}, in this order, not {', '.join(own)}."
    return ""
