"""What a network must know of its data before it can be built: shapes, task, classes, reading."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, get_args

from datamodules.errors import UserError

Task = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True)
class DataSpec:
    """The data as a network sees them; `datamodule.spec` gives it, weights carry it.

    Args:
        input_shape: Shape of one raw example, without the batch dimension; a list or dictionary of
            shapes if an example is several tensors.
        task: `binary` (one logit), `multiclass` (a logit for each class) or `regression`.
        num_outputs: Values that a head gives; 1 if binary.
        class_names: Names of the classes, in the order of the targets; numbered if not given.
        preprocessing: How raw input becomes numbers, as plain JSON with a `kind`: `pixels`,
            `table`, `tokens` or `none`.

    Raises:
        UserError: If these contradict each other.
    """

    input_shape: Any = (1, 28, 28)
    task: Task = "multiclass"
    num_outputs: int = 10
    class_names: Sequence[str] | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=lambda: {"kind": "none"})

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise UserError(f"There is no task '{self.task}'; known: {', '.join(get_args(Task))}.")
        if not _is_count(self.num_outputs):
            raise UserError(f"A network needs at least one output, not {self.num_outputs}.")
        if self.task == "binary" and self.num_outputs != 1:
            raise UserError(f"A binary task has one output, not {self.num_outputs}.")
        if not isinstance(self.preprocessing, Mapping) or "kind" not in self.preprocessing:
            raise UserError("The preprocessing of data has a `kind`, such as pixels or none.")
        count = {"binary": 2, "multiclass": self.num_outputs, "regression": 0}[self.task]
        names = range(count) if self.class_names is None else self.class_names
        names = [str(name) for name in names]
        if len(names) != count:
            raise UserError(f"There are {len(names)} names for {count} classes.")
        object.__setattr__(self, "input_shape", _checked_shape(self.input_shape))
        object.__setattr__(self, "class_names", names)

    @classmethod
    def of(cls, described: "DataSpec | Mapping[str, Any]") -> Self:
        """Return a spec of plain values, as weights and checkpoints hold them."""
        if isinstance(described, cls):
            return described
        if unknown := set(described) - set(cls.__dataclass_fields__):
            raise UserError(f"Data are not described by {', '.join(sorted(unknown))}.")
        return cls(**described)

    def plain(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**asdict(self), "input_shape": _as_lists(self.input_shape)}


def _checked_shape(shape: Any) -> Any:
    if isinstance(shape, Mapping):
        return {str(name): _checked_shape(part) for name, part in shape.items()}
    if isinstance(shape, (tuple, list)) and shape:
        if all(_is_count(size) for size in shape):
            return tuple(shape)
        if all(isinstance(part, (tuple, list, Mapping)) for part in shape):
            return [_checked_shape(part) for part in shape]
    raise UserError(f"The shape of an example is positive sizes, not {shape}.")


def _as_lists(shape: Any) -> Any:
    if isinstance(shape, dict):
        return {name: _as_lists(part) for name, part in shape.items()}
    return [_as_lists(part) for part in shape] if isinstance(shape, (tuple, list)) else shape


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
