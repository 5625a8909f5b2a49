"""The README's reader: from a row or a sentence to an exported file's input, without the zoo."""

import csv
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

import zoo
from datamodules import Tabular, TextCSV
from datamodules.tabular.encode import encode_frame
from datamodules.text import token_ids, tokenize
from zoo.deployment.export import PT2_METADATA, export_model

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    """The README's text as a module."""
    text = (
        README.read_text("utf-8").partition("<!-- reader -->")[2].partition("<!-- /reader -->")[0]
    )
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    module = ModuleType("reader")
    exec(code, module.__dict__)
    lines = [line for line in code.splitlines() if line.strip() and line != "# reader.py"]
    assert len(lines) <= 30
    imported = re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)
    assert set(imported) <= {"re", "contextlib", "datetime", "numpy"}
    return module


def preprocessing_in_file(data: Any, folder: Path) -> dict[str, Any]:
    """Export a network for the data, and return what its file says of reading."""
    import json

    import torch

    path = folder / "net.pt2"
    export_model(zoo.create_model("tabular_mlp.tuned", datamodule=data), path)
    files = {PT2_METADATA: ""}
    torch.export.load(path, extra_files=files)
    return json.loads(files[PT2_METADATA])["preprocessing"]


# Every kind of column, written in more than one way, with gaps and with what is not what it should.
CELLS: dict[str, list[str]] = {
    "number": ["1.5", "-2", " 3e2 ", "NA", "", "words", "1_000", "inf", "$4"],
    "price": ["1,234.50", "2,000.00", "17.25", "1,000,000.00", "", "?", "12.00", "8.50", "1.00"],
    "large": [f"{1_700_000_000 + i}" for i in range(9)],
    "member": ["yes", "No", "TRUE", "f", "-", "yes", "no", "no", "y"],
    "day": ["2024-02-29", "1999-12-31", "", "2024-13-01", *("2020-01-05",) * 5],
    "moment": ["2024-02-29T12:30:00+0200", "1999-12-31T00:00:00Z", *("2001-07-08T09:10:11Z",) * 7],
    "clock": ["29.02.2024 23:59", "01.03.2021 00:01", "05.06.2022 17:45", *("07.08.23",) * 6],
    "colour": [" red", "blue", "green ", "3.0", "3", "n/a", "violet", "red", "blue"],
    "code": ["1", "2", "1.0", "2", "?", "1", "2", "7", "1"],
}  # fmt: skip


def table(rows: int) -> pd.DataFrame:
    """Return a table for training: clean cells, each column of its kind."""
    generator = np.random.default_rng(0)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(rows) * 7, "D")
    moments = days + pd.to_timedelta(np.arange(rows) * 53, "min")
    return pd.DataFrame(
        {
            "number": generator.normal(size=rows).round(3).astype(str),
            "price": [f"{x:,.2f}" for x in generator.uniform(1, 9e5, rows)],
            "large": [str(1_700_000_000 + i) for i in range(rows)],
            "member": generator.choice(["yes", "no"], rows),
            "day": days.strftime("%Y-%m-%d"),
            "moment": moments.strftime("%Y-%m-%dT%H:%M:%S+0100"),
            "clock": moments.strftime("%d.%m.%Y %H:%M"),
            "colour": generator.choice(["red", "green", "blue", "3"], rows),
            "code": generator.choice(["1", "2"], rows),
            "label": generator.choice(["a", "b"], rows),
        }
    )


def test_rows_are_read_as_the_network_reads_them(reader: ModuleType, tmp_path: Path) -> None:
    table(120).to_csv(tmp_path / "train.csv", index=False)
    data = Tabular(str(tmp_path / "train.csv"), "label", categorical=["code"], thousands=",")
    described = data.spec.preprocessing
    kinds = {c["name"]: c["kind"] for c in described["columns"]}
    assert set(kinds.values()) == {"numeric", "boolean", "date", "category"}
    assert kinds.keys() == CELLS.keys()

    pd.DataFrame(CELLS).to_csv(tmp_path / "new.csv", index=False)
    expected = encode_frame(pd.DataFrame(CELLS), described).numpy()
    about = preprocessing_in_file(data, tmp_path)
    with (tmp_path / "new.csv").open(newline="") as file:
        rows = np.concatenate([reader.read_row(row, about) for row in csv.DictReader(file)])
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, expected)
    assert np.isnan(expected).any()
    assert (expected[:, -2:] == -1).any()


def test_a_table_with_decimal_commas_is_read(reader: ModuleType, tmp_path: Path) -> None:
    rows = "".join(f"{i},5;{'xy'[i % 2]}\n" for i in range(60))
    (tmp_path / "train.csv").write_text(f"a;label\n{rows}")
    data = Tabular(str(tmp_path / "train.csv"), "label")
    about = preprocessing_in_file(data, tmp_path)
    assert reader.read_row({"a": "12,25"}, about).tolist() == [[12.25]]


@pytest.mark.parametrize(
    "sentence",
    ["The film wasn't DULL; it_was superb!", "", "...", "zzz unheard-of", "good " * 80],
)
def test_sentences_are_read_as_the_network_reads_them(reader: ModuleType, sentence: str) -> None:
    described = TextCSV().spec.preprocessing
    expected = token_ids([tokenize(sentence)], described["vocabulary"], described["max_length"])
    read = reader.read_sentence(sentence, described)
    assert read.dtype == np.int64
    np.testing.assert_array_equal(read, expected.numpy())
