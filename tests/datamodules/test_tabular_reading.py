"""Files as they come: each is read without being told how it is written."""

import bz2
import gzip
import lzma
import zipfile

import numpy as np
import pandas as pd
import pytest

from datamodules import Tabular, UserError

ROWS = [
    (1.5, "red", 3, "yes"),
    (2.5, "blue", 4, "no"),
    (3.25, "red", 5, "yes"),
    (4.0, "green", 6, "no"),
    (5.75, "blue", 7, "yes"),
    (6.5, "green", 8, "no"),
    (7.25, "red", 9, "yes"),
    (8.0, "blue", 11, "no"),
] * 3
HEADER = ["size", "colour", "count", "label"]


def written(separator=",", header=True, number=str, quote="{}"):
    lines = [separator.join(quote.format(name) for name in HEADER)] if header else []
    for row in ROWS:
        lines.append(
            separator.join(number(c) if isinstance(c, float) else quote.format(c) for c in row)
        )
    return "\n".join(lines) + "\n"


def table(path, target="label", **options):
    data = Tabular(str(path), target, source="real", **options)
    data.setup()
    return data


def numbers(data):
    """All rows of the table, in no order, for comparing two readings of the same rows."""
    rows = np.concatenate([x.numpy() for x, _ in data.splits.values()])
    return rows[np.lexsort(np.nan_to_num(rows.T, nan=-9))]


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "plain.csv"
    path.write_text(written())
    return table(path)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " ", "   "])
def test_separator_is_found(tmp_path, plain, separator):
    path = tmp_path / "t.csv"
    path.write_text(written(separator))
    data = table(path)
    np.testing.assert_array_equal(numbers(data), numbers(plain))
    assert data.class_names == ["no", "yes"]


def test_fields_in_quotation_marks_may_hold_separators_and_line_ends(tmp_path):
    lines = ['size,"a ""long"", name",label']
    lines += [f'{i}.5,"kind {i % 3},\nsecond line",{"yes" if i % 2 else "no"}' for i in range(30)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines))
    data = table(path)
    assert [c["name"] for c in data.preprocessing["columns"]] == ["size", 'a "long", name']
    assert data.preprocessing["categorical"][0]["vocabulary"][0] == "kind 0,\nsecond line"
    assert sum(len(x) for x, _ in data.splits.values()) == 30


@pytest.mark.parametrize(
    ("encoding", "start"),
    [("utf-8", b""), ("utf-8-sig", b""), ("latin-1", b""), ("utf-16", b"")],
)
def test_encoding_is_found(tmp_path, encoding, start):
    text = "größe,farbe,label\n" + "".join(
        f"{i},{'grün' if i % 2 else 'weiß'},{'yes' if i % 3 else 'no'}\n" for i in range(40)
    )
    path = tmp_path / "t.csv"
    path.write_bytes(start + text.encode(encoding))
    data = table(path)
    assert [c["name"] for c in data.preprocessing["columns"]] == ["größe", "farbe"]
    assert set(data.preprocessing["categorical"][0]["vocabulary"]) == {"grün", "weiß"}


def test_a_latin_1_letter_far_down_the_file_is_read(tmp_path):
    text = "x,place,label\n" + "".join(f"{i},here,{i % 2}\n" for i in range(60_000))
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode() + "7,Köln,1\n8,Köln,0\n9,Köln,0\n9,Köln,1\n".encode("latin-1"))
    data = table(path)
    assert "Köln" in data.preprocessing["categorical"][0]["vocabulary"]


def test_decimal_commas_are_found(tmp_path, plain):
    path = tmp_path / "t.csv"
    path.write_text(written(";", number=lambda x: str(x).replace(".", ",")))
    np.testing.assert_array_equal(numbers(table(path)), numbers(plain))


def test_decimal_commas_inside_quotation_marks_are_found(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,label\n" + "".join(f'"{i},{i % 7}5",{i % 2}\n' for i in range(40)))
    data = table(path)
    assert data.preprocessing["numeric"][0]["name"] == "x"
    assert numbers(data).max() == pytest.approx(39.45)


def test_thousands_marks_on_request(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,label\n" + "".join(f'"{i},{i % 7}50",{i % 2}\n' for i in range(1, 41)))
    assert numbers(table(path, thousands=",")).max() == 40_550


def test_thousands_marks_without_request_bring_a_hint(tmp_path):
    path = tmp_path / "t.csv"
    rows = "".join(f'"{1 + i % 9},{100 + i % 7}",{i},{i % 2}\n' for i in range(60))
    path.write_text("x,n,label\n" + rows)
    assert "'x' seems to hold numbers with thousands marks" in table(path).profile


def test_numbers_with_units_are_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("price,share,label\n" + "".join(f"${i}.5,{i}%,{i % 2}\n" for i in range(40)))
    data = table(path)
    assert [e["name"] for e in data.preprocessing["numeric"]] == ["price", "share"]
    assert numbers(data).max() == 39.5


def test_without_a_header_columns_are_numbered(tmp_path, plain):
    path = tmp_path / "t.csv"
    path.write_text(written(header=False))
    for data in (table(path, "3"), table(path, -1), table(path, 3, header="none")):
        np.testing.assert_array_equal(numbers(data), numbers(plain))
        assert [c["name"] for c in data.preprocessing["columns"]] == ["0", "1", "2"]


def test_a_table_of_texts_without_a_header_keeps_its_first_row(tmp_path):
    path = tmp_path / "t.csv"
    rows = [f"{'abc'[i % 3]},{'xy'[i % 2]},{'pe'[i // 2 % 2]}" for i in range(60)]
    path.write_text("\n".join(rows) + "\n")
    data = table(path, 2)
    assert sum(len(x) for x, _ in data.splits.values()) == 60


def test_a_word_for_many_among_numbers_is_no_header(tmp_path):
    path = tmp_path / "t.csv"
    doors = ["5more", "2", "3", "4"]
    rows = [f"{'vhigh' if i % 3 else 'low'},{doors[i % 4]},{'pe'[i // 2 % 2]}" for i in range(60)]
    path.write_text("\n".join(rows) + "\n")
    assert sum(len(x) for x, _ in table(path, 2).splits.values()) == 60


def test_blanks_win_over_the_one_tab_in_every_line(tmp_path):
    path = tmp_path / "t.data"
    rows = [f'{i}.5   {i % 3}   {1 if i % 5 else "?"}.0\t"kind {i % 4}"\n' for i in range(40)]
    path.write_text("".join(rows))
    assert [c["kind"] for c in table(path, 0).preprocessing["columns"]][-1] == "category"
    assert table(path, 0).input_shape == (3,)


def test_names_that_are_numbers_are_a_header_if_they_count(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("0,1,2,target\n" + "".join(f"{i}.5,{i},{-i},{i % 2}\n" for i in range(30)))
    assert sum(len(x) for x, _ in table(path, "target").splits.values()) == 30


def test_header_can_be_said(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("2019,2021,out\n" + "".join(f"{i}.5,{i * i},{i % 2}\n" for i in range(30)))
    data = table(path, "out", header="first")
    assert [c["name"] for c in data.preprocessing["columns"]] == ["2019", "2021"]


def test_titles_above_the_header_are_passed_over(tmp_path, plain):
    path = tmp_path / "t.csv"
    path.write_text("Sizes of things\n\nexported on Monday\n" + written())
    data = table(path)
    np.testing.assert_array_equal(numbers(data), numbers(plain))
    assert "first 2 lines are no rows" in data.profile


def test_row_names_without_a_title_as_r_writes_them(tmp_path):
    path = tmp_path / "t.txt"
    lines = ['"x" "label"'] + [f'"{i + 1}" {i * 1.5} "{"ab"[i % 2]}"' for i in range(30)]
    path.write_text("\n".join(lines))
    data = table(path)
    assert [c["name"] for c in data.preprocessing["columns"]] == ["x"]
    assert "'row' counts the rows" in data.profile


def test_rows_that_end_in_a_separator(tmp_path, plain):
    path = tmp_path / "t.csv"
    first, *rest = written().splitlines()
    path.write_text("\n".join([first, *(line + "," for line in rest)]))
    np.testing.assert_array_equal(numbers(table(path)), numbers(plain))


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems(tmp_path, plain, end):
    path = tmp_path / "t.csv"
    path.write_bytes(written().replace("\n", end).encode())
    np.testing.assert_array_equal(numbers(table(path)), numbers(plain))


@pytest.mark.parametrize("word", ["", "?", "NA", "N/A", "null", "NaN", "-", " ? "])
def test_words_for_missing_values(tmp_path, word):
    path = tmp_path / "t.csv"
    rows = "".join(
        f"{word if i % 4 == 0 else i},{word if i % 5 == 0 else 'a'},{i % 2}\n" for i in range(40)
    )
    path.write_text("x,k,label\n" + rows)
    data = table(path)
    missing = np.isnan(numbers(data))
    assert missing.sum(axis=0).tolist() == [10, 8]
    assert data.preprocessing["numeric"][0]["indicator"]


def test_a_word_of_the_users_means_missing(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "x,label\n" + "".join(f"{'-999' if i % 4 == 0 else i},{i % 2}\n" for i in range(40))
    )
    assert np.isnan(numbers(table(path, missing=["-999"]))).sum() == 10


def test_compressed_files_whatever_their_ending(tmp_path, plain):
    content = written().encode()
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("inner/t.csv", content)
    for name, packed in {
        "t.csv.gz": gzip.compress(content),
        "t.csv.bz2": bz2.compress(content),
        "t.csv.xz": lzma.compress(content),
        "gzip_in_disguise.csv": gzip.compress(content),
    }.items():
        (tmp_path / name).write_bytes(packed)
        np.testing.assert_array_equal(numbers(table(tmp_path / name)), numbers(plain))
    np.testing.assert_array_equal(numbers(table(tmp_path / "t.zip")), numbers(plain))


def test_several_files_as_a_list_or_a_glob_in_any_column_order(tmp_path, plain):
    frame = pd.DataFrame(ROWS, columns=HEADER)
    frame.iloc[:10].to_csv(tmp_path / "part-0.csv", index=False)
    frame.iloc[10:, ::-1].to_csv(tmp_path / "part-1.csv", index=False, sep=";")
    by_glob = table(tmp_path / "part-*.csv")
    np.testing.assert_array_equal(numbers(by_glob), numbers(plain))
    as_list = Tabular([str(tmp_path / "part-0.csv"), str(tmp_path / "part-1.csv")], "label")
    np.testing.assert_array_equal(numbers(as_list), numbers(plain))


def test_parquet_is_read_or_its_missing_package_named(tmp_path, plain):
    path = tmp_path / "t.parquet"
    try:
        pd.DataFrame(ROWS, columns=HEADER).to_parquet(path)
    except ImportError:  # pyarrow is an extra
        path.write_bytes(b"PAR1")
        with pytest.raises(UserError, match="pyarrow"):
            table(path)
        return
    np.testing.assert_array_equal(numbers(table(path)), numbers(plain))


def test_relative_paths_are_looked_up_in_the_data_folder(tmp_path, plain, monkeypatch):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "mine.csv").write_text(written())
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path))
    np.testing.assert_array_equal(numbers(table("mine.csv")), numbers(plain))
