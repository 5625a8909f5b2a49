"""Tables that come through a pipe or as JSON lines, and what is refused by name."""

import gzip
import io
import json
import sys

import pandas as pd
import pytest
from tables import GOOD, kinds, read, refusal

from datamodules import Tabular, UserError

ROWS = [
    {"x": 0.5 * i, "kind": "abc"[i % 3], "label": "ny"[i % 2], **({"late": i} if i > 20 else {})}
    for i in range(40)
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.fixture
def piped(monkeypatch):
    def pipe(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return pipe


@pytest.mark.parametrize("text", [GOOD, LINES])
def test_a_table_is_read_from_standard_input(piped, text):
    piped(text)
    data = read("-")
    assert sum(len(y) for _, y in data.splits.values()) == 40
    assert data.class_names == ["n", "y"]
    assert "standard-input: 40 rows" in data.profile


def test_an_empty_pipe_is_no_table(piped):
    piped("")
    assert "Nothing is in standard input" in refusal("-")


@pytest.mark.parametrize("name", ["t.jsonl", "t.ndjson", "t.txt", "t.jsonl.gz"])
def test_json_lines_are_a_table(tmp_path, name):
    content = LINES.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    data = read(tmp_path / name)
    assert kinds(data) == {"x": "numeric", "kind": "category", "late": "numeric"}
    late = next(e for e in data.preprocessing["numeric"] if e["name"] == "late")
    assert late["share_missing"] > 0.3  # what the first rows lack is missing in them
    assert f"{name.removesuffix('.gz')}: 40 rows, 4 columns" in data.profile


def test_json_lines_give_what_csv_gives(tmp_path):
    (tmp_path / "t.jsonl").write_text(LINES)
    pd.DataFrame(ROWS).to_csv(tmp_path / "t.csv", index=False)
    one, other = (read(tmp_path / name) for name in ("t.jsonl", "t.csv"))
    assert one.preprocessing == other.preprocessing
    assert all(
        (one.splits[s][0].nan_to_num() == other.splits[s][0].nan_to_num()).all() for s in one.splits
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"x": [1, 2], "label": "n"}', "'x' holds lists or objects"),
        ('{"x": 1, "more": {"a": 1}, "label": "n"}', "'more' holds lists or objects"),
        ('{"x": 1, "label"', "line 41 is broken"),
        ("[1, 2]", "line 41 is no object"),
    ],
)
def test_what_is_no_row_of_json_lines_is_named(tmp_path, line, said):
    (tmp_path / "t.jsonl").write_text(LINES + line)
    assert said in refusal(tmp_path / "t.jsonl")


@pytest.mark.parametrize("indent", [None, 1])
def test_json_is_refused_by_name(tmp_path, indent):
    (tmp_path / "t.json").write_text(json.dumps(ROWS, indent=indent))
    assert "is JSON, not CSV" in refusal(tmp_path / "t.json")


def test_a_folder_is_answered_with_what_can_be_read(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    said = refusal(tmp_path)
    assert "holds no table but only .json" in said
    assert "a.json," not in said
    (tmp_path / "z.jsonl").write_text(LINES)
    said = refusal(tmp_path)
    assert "such as " + str(tmp_path / "z.jsonl") in said
    assert str(tmp_path / "*.jsonl") in said
    with pytest.raises(UserError, match="No file matches"):
        Tabular(str(tmp_path / "*.csv"), "label").setup()
