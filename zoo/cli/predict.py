"""`predict`: a new table in, the same table with predictions out."""

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from datamodules.files import atomic_write
from datamodules.folders import expand_home
from zoo.cli import Trust
from zoo.errors import UserError

if TYPE_CHECKING:
    from zoo.network import Network

# Rows at a time: 20,000 of 100 features are 8 MB.
CHUNK = 20_000


def main(argv: list[str]) -> None:
    """Run `predict` with these arguments."""
    parser = argparse.ArgumentParser(
        prog="predict",
        description="Predict on a new table. The columns may stand in any order, further ones are "
        "kept as they are; prediction and probabilities are added on the right.",
    )
    parser.add_argument("--weights", required=True, help="run, .safetensors file or name")
    parser.add_argument("--input", required=True, help="the table; - for standard input")
    parser.add_argument("--output", default="-", help="where to write (CSV); - for standard output")
    parser.add_argument("--separator", help="between two fields, if it is not found by itself")
    parser.add_argument("--header", choices=("auto", "first", "none"), default="auto")
    parser.add_argument("--encoding", help="such as latin-1, if it is not found by itself")
    parser.add_argument("--decimal", help="the decimal mark, if it is not found by itself")
    parser.add_argument("--trust", action=Trust)
    chosen = parser.parse_args(argv)
    from zoo.cards import weights_path

    path = weights_path(chosen.weights)
    from zoo.weights import load_weights

    model = load_weights(path)
    kind = model.spec.preprocessing["kind"]
    if kind != "table":
        raise UserError(
            f"'{path}' reads {kind}, not tables; predict needs a network that was trained on a "
            "table, such as tabular_mlp."
        )
    reading = {key: getattr(chosen, key) for key in ("separator", "header", "encoding", "decimal")}
    with _input(chosen.input) as source, _output(chosen.output, source) as target:
        name = "Standard input" if chosen.input == "-" else str(source)
        count = predict(model, source, target, name, **reading)
    if chosen.output != "-":
        print(f"{count:,} rows with predictions written to {chosen.output}", file=sys.stderr)


def predict(model: "Network", source: Path, target: IO[str], name: str = "", **reading: Any) -> int:
    """Write a table's rows with predictions, chunk by chunk.

    What the network reads otherwise than it is meant, such as a category that training did not
    have, is counted and told on standard error, in a line for each column.

    Args:
        model: A network that reads tables, in evaluation mode.
        source: The table's file.
        name: What it is called in messages.
        target: Where to write.
        reading: Options of `datamodules.tabular.reading.ReadOptions`.

    Returns:
        How many rows were written: as many as the table has.

    Raises:
        UserError: If a column is missing, or the file is damaged.
    """
    import torch

    from datamodules.tabular.anomalies import Anomalies
    from datamodules.tabular.encode import check_columns, encode_frame, source_columns
    from datamodules.tabular.reading import ReadOptions, TableFile

    preprocessing = model.spec.preprocessing
    expect = tuple(n for n in source_columns(preprocessing) if not n.isdigit())
    options = ReadOptions(bad_rows="refuse", expect=expect, **reading)
    file = TableFile(source, options)
    name = name or str(source)
    check_columns(file.columns, preprocessing, name)
    count, anomalies = 0, Anomalies(preprocessing)
    for chunk in file.chunks(file.columns, dtype="str", size=CHUNK, raw=True):
        rows = encode_frame(chunk, preprocessing, file.decimal, name, anomalies)
        with torch.inference_mode():
            predicted = model.task.predict(model(rows), model.class_names)
        named = _columns(predicted, model, set(file.columns))
        result = chunk.assign(**named)
        result.to_csv(
            target,
            index=False,
            header=file.has_header and count == 0,
            sep=file.separator,
            decimal=file.decimal,
            lineterminator="\n",
        )
        count += len(result)
    for line in anomalies.lines():
        print(f"warning: {name}, {line}.", file=sys.stderr)
    return count


def _columns(predicted: dict[str, Any], model: "Network", taken: set[str]) -> "dict[str, Any]":
    """Name the new columns: `prediction`, and `probability_CLASS` or one for each target."""
    values = predicted["prediction"]
    columns: dict[str, Any] = {}
    if "probabilities" in predicted:
        columns["prediction"] = values
        for name, column in zip(model.class_names, predicted["probabilities"].T, strict=True):
            columns[f"probability_{name}"] = column.numpy().round(6)
    else:
        names = model.spec.preprocessing.get("target", {}).get("names", ["prediction"])
        several = len(names) > 1
        for name, column in zip(names, values.T, strict=True):
            columns[f"prediction_{name}" if several else "prediction"] = column.numpy()
    return {_free(name, taken): column for name, column in columns.items()}


def _free(name: str, taken: set[str]) -> str:
    """Return a name that the input does not use: it may hold predictions already."""
    while name in taken:
        name += "_new"
    return name


@contextlib.contextmanager
def _input(name: str) -> Generator[Path, None, None]:
    """Give the input as a file; standard input is kept in a temporary one while it is needed."""
    if name != "-":
        from datamodules.tabular.sources import find_files

        files = find_files(name)
        if len(files) > 1:
            raise UserError(f"--input '{name}' matches {len(files)} files; name one.")
        yield files[0]
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "standard-input"
        with file.open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
        yield file


@contextlib.contextmanager
def _output(name: str, source: Path) -> Generator[IO[str], None, None]:
    """Give a file to write to that appears under its name only when it is complete."""
    if name == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    target = expand_home(name)
    if target.is_dir():
        raise UserError(f"--output {target} is a folder; name a file in it.")
    if target.exists() and target.samefile(source):
        raise UserError(f"--output {target} is the input itself; name another file.")
    try:
        with atomic_write(target, "w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise UserError(f"--output {target} cannot be written: {error.strerror}.") from error
