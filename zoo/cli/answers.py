"""What networks answer: as columns of a table, for the terminal, and in files."""

import contextlib
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from datamodules.files import atomic_write
from datamodules.folders import expand_home
from zoo.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from zoo.network import Network


def as_columns(predicted: dict[str, Any], model: "Network", taken: set[str]) -> dict[str, Any]:
    """Name the new columns: `prediction`, and `probability_CLASS` or one for each target.

    A network that says so has a column `unknown` too; beside it the prediction is the likeliest
    class all the same.
    """
    values = predicted["prediction"]
    columns: dict[str, Any] = {}
    if "probabilities" in predicted:
        columns["prediction"] = values
        for name, column in zip(model.class_names, predicted["probabilities"].T, strict=True):
            columns[f"probability_{name}"] = column.numpy().round(6)
        if "unknown" in predicted:
            columns["unknown"] = predicted["unknown"].numpy()
    else:
        names = model.spec.preprocessing.get("target", {}).get("names", ["prediction"])
        several = len(names) > 1
        for name, column in zip(names, values.T, strict=True):
            columns[f"prediction_{name}" if several else "prediction"] = column.numpy()
        for end in ("lower", "upper"):
            if end in predicted:
                for name, column in zip(names, predicted[end].T, strict=True):
                    columns[f"{end}_{name}" if several else end] = column.numpy()
    return {free_name(name, taken): column for name, column in columns.items()}


def free_name(name: str, taken: set[str]) -> str:
    """Return a name that the input does not use: it may hold predictions already."""
    while name in taken:
        name += "_new"
    return name


def as_text(
    names: list[str],
    predicted: dict[str, Any],
    classes: list[str],
    reasons: list[str] | None = None,
) -> str:
    """Return a table for the terminal: class, probability and the two after it; then reasons.

    What is none of the classes is called unknown, and all three stand behind it.
    """
    from zoo.fitted.calibration import UNKNOWN

    if "probabilities" not in predicted:
        values = [" ".join(f"{v:.6g}" for v in row) for row in predicted["prediction"].tolist()]
        rows = [list(pair) for pair in zip(names, values, strict=True)]
        return _table(rows, ["input", "prediction"], reasons)
    shares, places = predicted["probabilities"].topk(min(3, len(classes)), dim=1)
    rows = []
    unknown = predicted["unknown"].tolist() if "unknown" in predicted else [False] * len(names)
    found = zip(names, shares.tolist(), places.tolist(), unknown, strict=True)
    for name, row, order, is_unknown in found:
        best, *rest = zip(order, row, strict=True)
        cells = [UNKNOWN, ""] if is_unknown else [classes[best[0]], f"{best[1]:.3f}"]
        then = ", ".join(f"{classes[i]} {p:.3f}" for i, p in ([best] * is_unknown + rest))
        rows.append([name, *cells, then])
    return _table(rows, ["input", "class", "probability", "then"], reasons)


def _table(rows: list[list[str]], titles: list[str], reasons: list[str] | None) -> str:
    from zoo.console import table

    if reasons is None:
        return table(rows, titles)
    pairs = zip(rows, reasons, strict=True)
    return table([[*row, reason] for row, reason in pairs], [*titles, "because of"])


@contextlib.contextmanager
def open_output(name: str, sources: list[Path]) -> Generator[IO[str], None, None]:
    """Give a file to write to that appears under its name only when it is complete."""
    if name == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    target = expand_home(name)
    check_output(target, sources)
    try:
        with atomic_write(target, "w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise UserError(f"--output {target} cannot be written: {error.strerror}.") from error


def write_frame(frame: "pd.DataFrame", output: str) -> int:
    """Write predictions as CSV, Parquet or JSON, by the name; `-` is CSV on standard output.

    Returns:
        How many rows were written.
    """
    if output == "-":
        sys.stdout.write(frame.to_csv(index=False, lineterminator="\n"))
        return len(frame)
    target = expand_home(output)
    check_output(target)
    kind = target.suffix.lower()
    try:
        with atomic_write(target) as file:
            if kind == ".parquet":
                frame.to_parquet(file, index=False)
            elif kind == ".json":
                file.write(frame.to_json(orient="records", indent=1, force_ascii=False).encode())
            else:
                file.write(frame.to_csv(index=False, lineterminator="\n").encode())
    except ImportError as error:
        raise UserError(
            "Parquet needs pyarrow: pip install 'lightning-zoo[parquet]', or name a .csv."
        ) from error
    except OSError as error:
        raise UserError(f"--output {target} cannot be written: {error.strerror}.") from error
    return len(frame)


def check_output(target: Path, sources: Sequence[Path] = ()) -> None:
    """Refuse a file that cannot be written, or that is the input itself.

    Raises:
        UserError: Which says what to name instead.
    """
    if target.is_dir():
        raise UserError(f"--output {target} is a folder; name a file in it.")
    if not target.parent.is_dir():
        raise UserError(f"--output {target}: there is no folder '{target.parent}'; make it.")
    if target.exists() and any(target.samefile(source) for source in sources):
        raise UserError(f"--output {target} is the input itself; name another file.")
