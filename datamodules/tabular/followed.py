"""A table for a network that was made with another one: its targets, its classes, its numbers."""

from dataclasses import replace

from datamodules.errors import UserError
from datamodules.spec import DataSpec, Task
from datamodules.tabular import targets
from datamodules.tabular.anomalies import warn
from datamodules.tabular.dialect import is_number
from datamodules.tabular.encode import source_columns
from datamodules.tabular.reading import ReadOptions
from datamodules.tabular.schema import SchemaRequest
from datamodules.tabular.store import Table
from datamodules.tabular.targets import Target


def requested(
    expected: DataSpec, reading: ReadOptions, request: SchemaRequest
) -> tuple[ReadOptions, SchemaRequest]:
    """Return what to read for a network, of what the user asks.

    Args:
        expected: What the network was made for.
        reading: How the user wants the files read; the network's columns show a header, too.
        request: What the user asks of the columns; the target is the network's if that is nothing
            or the same columns in another order.
    """
    names = tuple(n for n in source_columns(expected.preprocessing) if not n.isdigit())
    target, known = request.target, expected.preprocessing.get("target", {}).get("names", [])
    if known and (not target or sorted(target) == sorted(known)):
        target = known
    categorical = request.categorical
    if not all(map(is_number, expected.class_names or [])):
        # Classes that are words: numbers among them, such as 007, are written as they are.
        categorical = [*categorical, *target]
    return (
        replace(reading, expect=(*reading.expect, *names)),
        replace(request, target=target, categorical=categorical),
    )


def read_target(table: Table, expected: DataSpec, task: Task | None) -> Target:
    """Return what is predicted, classes numbered as the network does.

    Args:
        table: The table.
        expected: What the network was made for.
        task: What the user says it is, or None.

    Raises:
        UserError: If the network predicts something else, or does not know a class.
    """
    if task and (task == "regression") != (expected.task == "regression"):
        raise UserError(
            f"--data.task {task} is not the task of the network, {expected.task}; leave it out."
        )
    if expected.task == "regression":
        for column in table.target_columns:
            expected.numbers_of(column.get("values", []))
        target = targets.read(table, "regression", varied=False)
        known = expected.preprocessing.get("target", {}).get("names", target.names)
        if known != target.names:
            sentence = (
                f"the network predicts {', '.join(known)}; here it is compared with "
                f"{', '.join(target.names)}"
            )
            warn([sentence], ", ".join(table.report.files))
        return target
    target = targets.read(table, "multiclass", varied=False)
    own = _known_classes(table, target.class_names, expected)
    numbers, names = expected.numbers_of(own), expected.names_for(own)
    assert target.codes is not None  # the network does not number what has no classes
    codes = numbers.astype(target.codes.dtype)[target.codes]
    return replace(target, task=expected.task, class_names=names, codes=codes)


def _known_classes(table: Table, names: list[str], expected: DataSpec) -> list[str]:
    """Return classes as the network writes them, where they differ in typing alone."""
    known = expected.class_names or []
    written = {targets.bare(name): name for name in known}
    if len(written) < len(known):  # it tells classes apart that are typed alike
        return names
    found = [name if name in known else written.get(targets.bare(name), name) for name in names]
    others = [f"'{a}' as '{b}'" for a, b in zip(names, found, strict=True) if a != b]
    warn([f"class {other} is read" for other in others], ", ".join(table.report.files))
    return found
