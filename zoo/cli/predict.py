"""`predict`: pictures, tables, numbers or sentences in, predictions out."""

import contextlib
import re
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from datamodules.folders import expand_home
from zoo.cli import CommandParser, Trust
from zoo.cli.answers import as_columns, as_text, check_output, free_name, open_output, write_frame
from zoo.errors import UserError, counted

if TYPE_CHECKING:
    import pandas as pd

    from datamodules.tabular.reading import TableFile
    from zoo.inputs import Inputs
    from zoo.network import Network

# Rows at a time: 20,000 of 100 features are 8 MB.
CHUNK = 20_000
# Words of a sentence that are named as the reason of its answer.
MOST_WORDS = 5
# Pictures at a time.
PICTURES = 1024


def main(argv: list[str]) -> None:
    """Run `predict` with these arguments."""
    parser = CommandParser(
        prog="predict",
        description="Predict on pictures, arrays, tables, numbers or sentences, as the network "
        "reads them. Of a table the columns may stand in any order and further ones are kept; "
        "prediction and probabilities are added on the right.",
    )
    parser.add_argument("--weights", required=True, help="run, .safetensors file or name")
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        help="files, folders or globs; - for standard input; or numbers or a sentence themselves",
    )
    parser.add_argument(
        "--output", help="where to write: .csv, .parquet or .json; - for CSV on standard output"
    )
    parser.add_argument(
        "--explain",
        nargs="?",
        const="explanations",
        metavar="FOLDER",
        help="what each answer rests on: pictures with it in red in FOLDER (explanations if not "
        "said), the words of a sentence beside its answer",
    )
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
    if model.spec.kind != "table":
        predict_inputs(model, chosen.input, chosen.output, chosen.explain)
        return
    if chosen.explain:
        raise UserError("--explain is for pictures and for sentences, not for the rows of a table.")
    reading = {key: getattr(chosen, key) for key in ("separator", "header", "encoding", "decimal")}
    with _own_options():
        predict_tables(model, chosen.input, chosen.output or "-", **reading)


@contextlib.contextmanager
def _own_options() -> Generator[None, None, None]:
    """Let messages about tables name the options of `predict`, not those of `fit`."""
    try:
        yield
    except UserError as error:
        text = str(error).replace("--data.path", "--input")
        text = re.sub(r"--data\.(separator|header|encoding|decimal)", r"--\1", text)
        raise UserError(text) from error


def predict_tables(model: "Network", inputs: list[str], output: str, **reading: Any) -> None:
    """Predict on tables of the same columns, and write all their rows in the order of the files.

    Args:
        model: A network that reads tables, in evaluation mode.
        inputs: Files and globs; `-` for standard input.
        output: A file; `-` for CSV on standard output.
        reading: Options of `datamodules.tabular.reading.ReadOptions`.

    Raises:
        UserError: If a file or a column is missing, or a file is damaged.
    """
    from datamodules.tabular.sources import find_files

    sources = find_files(inputs)
    if Path(output).suffix.lower() in (".parquet", ".json"):
        check_output(expand_home(output), sources)
        import pandas as pd

        parts = [chunk for _, chunk in predicted_chunks(model, sources, **reading)]
        count = write_frame(pd.concat(parts), output)
    else:
        with open_output(output, sources) as target:
            count = predict(model, sources, target, **reading)
    if output != "-":
        several = f" of {len(sources)} files" if len(sources) > 1 else ""
        print(
            f"{counted(count, 'row')}{several} with predictions written to {output}",
            file=sys.stderr,
        )


def predict_inputs(
    model: "Network", inputs: list[str], output: str | None = None, explain: str | None = None
) -> None:
    """Predict on anything but a table, and show or write what came of it.

    What cannot be read is named when everything else is done.

    Args:
        model: The network, in evaluation mode.
        inputs: As `zoo.inputs.read_inputs` takes them.
        output: A file, `-` for CSV on standard output; a table for the terminal if None.
        explain: A folder for pictures of what the answers rest on; nothing of that if None.

    Raises:
        UserError: If something could not be read.
    """
    import torch

    from zoo.inputs import read_inputs

    if explain and expand_home(explain).is_file():
        raise UserError(f"--explain {explain} is a file; name a folder for the pictures.")
    read = read_inputs(model.spec, inputs, sys.stdin.buffer.read() if "-" in inputs else b"")
    if read.first:
        print(read.first, file=sys.stderr)
    with torch.inference_mode():
        outputs = torch.cat([model(part) for part in read.x.split(PICTURES)])
    predicted = model.answer(outputs)
    reasons = _reasons(model, read, explain) if explain else None
    if output is None:
        print(as_text(read.names, predicted, model.class_names, reasons))
    else:
        import pandas as pd

        frame = pd.DataFrame({"input": read.names, **as_columns(predicted, model, {"input"})})
        if reasons:
            frame[free_name("because of", set(frame))] = reasons
        count = write_frame(frame, output)
        if output != "-":
            print(f"{count:,} predictions written to {output}", file=sys.stderr)
    if read.problems:
        named = " ".join(read.problems[:5])
        more = f" And {len(read.problems) - 5} more." if len(read.problems) > 5 else ""
        raise UserError(f"{len(read.problems)} of the inputs could not be read: {named}{more}")


def _reasons(model: "Network", read: "Inputs", folder: str) -> list[str]:
    """Return what each answer rests on in a few words, and draw that of pictures into a folder."""
    from tqdm import tqdm

    from zoo.explanation import explain, overlaid, where, words

    reasons = []
    target = expand_home(folder)
    for number, name in enumerate(tqdm(read.names, "explaining", disable=None, leave=False)):
        example = read.x[number]
        support = explain(model, example[None])[0]
        if model.spec.kind == "tokens":
            strongest = words(name, support)[:MOST_WORDS]
            reasons.append(", ".join(f"{word} {value:+.1f}" for word, value in strongest))
            continue
        reasons.append(where(support))
        plain = re.sub(r"[^\w.-]+", "_", name).strip("_.")[-150:]
        file = target / f"{plain}.png"
        try:
            target.mkdir(parents=True, exist_ok=True)
            overlaid(example, support).save(file)
        except OSError as error:
            raise UserError(f"--explain {folder} cannot be written: {error.strerror}.") from error
    if model.spec.kind != "tokens":
        print(f"what they rest on, in red: {target}/*.png", file=sys.stderr)
    return reasons


def predict(model: "Network", sources: list[Path], target: IO[str], **reading: Any) -> int:
    """Write tables' rows with predictions, chunk by chunk, as the first of the files is written.

    What the network reads otherwise than it is meant, such as a category that training did not
    have, is counted and told on standard error, in a line for each column.

    Args:
        model: A network that reads tables, in evaluation mode.
        sources: The tables' files.
        target: Where to write.
        reading: Options of `datamodules.tabular.reading.ReadOptions`.

    Returns:
        How many rows were written: as many as the tables have.

    Raises:
        UserError: If a column is missing, or a file is damaged.
    """
    count = 0
    for file, result in predicted_chunks(model, sources, **reading):
        added = [str(name) for name in result.columns[len(file.columns) :]]
        result.to_csv(
            target,
            index=False,
            header=[*file.written_columns, *added] if file.has_header and not count else False,
            sep=file.separator,
            decimal=file.decimal,
            lineterminator="\n",
        )
        count += len(result)
    return count


def predicted_chunks(
    model: "Network", sources: list[Path], **reading: Any
) -> "Iterator[tuple[TableFile, pd.DataFrame]]":
    """Yield the first table's file and rows with predictions, chunk by chunk, as `predict` says."""
    import torch

    from datamodules.tabular.anomalies import Anomalies
    from datamodules.tabular.encode import check_columns, encode_frame, source_columns
    from datamodules.tabular.reading import ReadOptions, TableFile

    preprocessing = model.spec.preprocessing
    expect = tuple(n for n in source_columns(preprocessing) if not n.isdigit())
    options = ReadOptions(bad_rows="refuse", expect=expect, **reading)
    files = [TableFile(source, options) for source in sources]
    first = files[0]
    for file in files:
        check_columns(file.columns, preprocessing, _title(file.path))
        if others := sorted(set(file.columns) ^ set(first.columns)):
            raise UserError(
                f"{file.path} and {first.path} have not the same columns ('{others[0]}' is in one "
                "of them alone); predict on each by itself."
            )
    for file in files:
        name, anomalies = _title(file.path), Anomalies(preprocessing)
        for chunk in file.chunks(first.columns, dtype="str", size=CHUNK, raw=True):
            rows = encode_frame(chunk, preprocessing, file.decimal, name, anomalies)
            with torch.inference_mode():
                predicted = model.answer(model(rows))
            yield first, chunk.assign(**as_columns(predicted, model, set(first.columns)))
        for line in anomalies.lines():
            print(f"warning: {name}, {line}.", file=sys.stderr)


def _title(path: Path) -> str:
    """Return what a file is called in messages."""
    from datamodules.tabular.incoming import COPY, is_written_down

    if not is_written_down(path):
        return str(path)
    return "Standard input" if path.name == COPY else path.name
