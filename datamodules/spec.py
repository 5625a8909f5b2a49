"""What a network must know of its data before it can be built: shapes, task, classes, reading."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from datamodules.described import check_preprocessing
from datamodules.errors import UserError, nearest
from datamodules.plain import misfit

#: What networks with each kind of preprocessing read.
KIND_NAMES = {"pixels": "images", "table": "tables", "tokens": "texts", "none": "numbers"}
ADVICE = (
    "Use data like those that it was made with, or make a network for these: "
    "create_model(..., datamodule=...)."
)

# Two examples, which show what a network computes, are then 1 GB.
MOST_NUMBERS, MOST_SIZES = 2**27, 64

Task = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True)
class DataSpec:
    """The data as a network sees them; `datamodule.spec` gives it, weights carry it.

    Args:
        input_shape: Shape of one raw example, without the batch dimension; a list or dictionary of
            shapes if an example is several tensors.
        task: `binary` (one logit), `multiclass` (a logit for each class) or `regression`.
        num_outputs: Values that a head gives; 1 if binary.
        class_names: Names of the classes, in the order of the targets; None of a network that was
            made for a number of classes, whichever they are.
        preprocessing: How raw input becomes numbers, as plain JSON with a `kind`: `pixels`,
            `table`, `tokens` or `none`.

    Raises:
        UserError: If these contradict each other.
    """

    input_shape: Any = (1, 28, 28)
    task: Task = "multiclass"
    num_outputs: int = 10
    class_names: Sequence[str] | None = None
    preprocessing: dict[str, Any] = field(default_factory=lambda: {"kind": "none"})

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise UserError(f"There is no task '{self.task}'; known: {', '.join(get_args(Task))}.")
        if not _is_count(self.num_outputs):
            raise UserError(f"A network needs at least one output, not {self.num_outputs}.")
        if self.task == "binary" and self.num_outputs != 1:
            raise UserError(f"A binary task has one output, not {self.num_outputs}.")
        if not isinstance(self.preprocessing, Mapping) or "kind" not in self.preprocessing:
            raise UserError("The preprocessing of data has a `kind`, such as pixels or none.")
        count = self.num_classes
        names = self.class_names
        if names is not None:
            names = [str(name) for name in names]
            if len(names) != count:
                raise UserError(f"There are {len(names)} names for {count} classes.")
        object.__setattr__(self, "input_shape", checked_shape(self.input_shape))
        object.__setattr__(self, "class_names", names)

    @property
    def names(self) -> list[str]:
        """The names of the classes, numbers where they have none; empty for regression."""
        if self.class_names is not None:
            return list(self.class_names)
        return [str(number) for number in range(self.num_classes)]

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
        return own if self.class_names is None else list(self.class_names)

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
            raise UserError(other_task(self.task == "regression", own))
        if self.class_names is None:
            if len(own) != self.num_classes:
                raise UserError(
                    f"The network tells {self.num_classes} classes apart and does not know their "
                    f"names; these data have {len(own)}: {listed(own)}. Name them with "
                    "reset_head(..., class_names=[...])."
                )
            return np.arange(len(own))
        for name in own:
            if name not in self.class_names:
                close = nearest(name, self.class_names, 1)
                advice = f" Is it '{close[0]}'?" if close else ""
                raise UserError(
                    f"The network does not know class '{name}' of these data, only "
                    f"{listed(self.class_names)}.{advice} Leave its examples out, or give the "
                    "network a new head with reset_head(..., class_names=[...])."
                )
        return np.array([self.class_names.index(name) for name in own], dtype=np.int64)

    @classmethod
    def of(cls, described: "DataSpec | Mapping[str, Any]") -> "DataSpec":
        """Return a spec of plain values, as weights and checkpoints hold them."""
        if isinstance(described, DataSpec):
            return described
        if not isinstance(described, Mapping):
            raise UserError("Data are described by a mapping, with their input_shape and task.")
        if unknown := set(described) - set(cls.__dataclass_fields__):
            raise UserError(f"Data are not described by {', '.join(sorted(map(str, unknown)))}.")
        if problem := misfit(described.get("class_names"), Sequence[str] | None, "class_names"):
            raise UserError(f"Data are not described so: {problem}.")
        spec = cls(**described)
        check_preprocessing(spec.preprocessing, spec.input_shape, spec.num_outputs)
        return spec

    def plain(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**asdict(self), "input_shape": _as_lists(self.input_shape)}


def checked_shape(shape: Any) -> Any:
    """Return a shape as a tuple, or several in lists and dictionaries; refuse what is none."""
    if isinstance(shape, Mapping):
        return {str(name): checked_shape(part) for name, part in shape.items()}
    if isinstance(shape, (tuple, list)) and shape:
        if all(_is_count(size) for size in shape):
            if len(shape) > MOST_SIZES or math.prod(shape) > MOST_NUMBERS:
                raise UserError(
                    f"One example has at most {MOST_NUMBERS:,} numbers, not so many as "
                    f"{' x '.join(map(str, shape[:MOST_SIZES]))}."
                )
            return tuple(shape)
        if all(isinstance(part, (tuple, list, Mapping)) for part in shape):
            return [checked_shape(part) for part in shape]
    raise UserError(f"The shape of an example is positive sizes, not {shape}.")


def _as_lists(shape: Any) -> Any:
    if isinstance(shape, dict):
        return {name: _as_lists(part) for name, part in shape.items()}
    return [_as_lists(part) for part in shape] if isinstance(shape, (tuple, list)) else shape


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def other_task(is_regression: bool, own: list[str]) -> str:
    """Say that a network predicts numbers where data have classes, or the other way round."""
    if is_regression:
        return f"The network predicts quantities; these data have classes: {listed(own)}."
    return "The network tells classes apart; the target of these data is a quantity."


def listed(names: Sequence[str]) -> str:
    """Return names in a row, the first ten of many."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
