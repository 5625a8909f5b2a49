"""Bad input: one clear message with the file, the line or column, and the fix."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tables import GOOD, read, refusal

from datamodules import Tabular, UserError
from datamodules.tabular import reading, sources


def test_a_row_with_too_many_fields(file):
    message = refusal(file(GOOD + "1,a,y,9\n"))
    assert "t.csv, line 42: 4 fields where 3 are expected" in message
    assert "--data.bad_rows skip" in message


def test_a_row_with_too_few_fields(file):
    assert "line 42: 2 fields where 3" in refusal(file(GOOD + "1,a\n"))


def test_a_ragged_row_after_one_with_a_line_end_in_it(file):
    message = refusal(file(GOOD + '1,"a\nb, c",y\n1,a\n'))
    assert "line 44: 2 fields where 3" in message


def test_a_short_row_between_fields_in_quotation_marks_of_any_file(file, monkeypatch):
    monkeypatch.setattr(sources, "BLOCK", 50)  # a large file: many blocks, some end inside a field
    rows = "".join(f'{i}.5,"a {i % 3},\n""b""",{"yn"[i % 2]}\n' for i in range(40))
    assert len(read(file("x,k,label\n" + rows)).splits["train"][0]) == 28
    assert "line 82: 2 fields where 3" in refusal(file("x,k,label\n" + rows + '1,"a"\n'))


def test_a_short_row_between_runs_of_blanks(file):
    rows = "".join(f" {i}.5   {i % 3} {'yn'[i % 2]}\n" for i in range(40))
    assert "line 42: 2 fields where 3" in refusal(file("x  k  label\n" + rows + "7.5   y\n"))


def test_a_short_row_does_not_make_up_for_a_long_one(file):
    data = read(file(GOOD + "1,a\n1,a,y,9\n"), bad_rows="skip")
    assert sum(len(x) for x, _ in data.splits.values()) == 40


def test_ragged_rows_can_be_skipped_and_are_counted(file):
    path = file("a title\n" + GOOD + "1,a\n1,a,y,9\n\n7.5,a,y\n")
    data = read(path, bad_rows="skip")
    assert sum(len(x) for x, _ in data.splits.values()) == 41
    assert "2 rows left out for a wrong number of fields" in data.profile


def test_duplicate_column_names_are_told_apart(file):
    path = file(GOOD.replace("x,k,label", "x,x,label"))
    data = read(path)
    assert [c["name"] for c in data.preprocessing["columns"]] == ["x", "x.1"]
    assert "column name 'x' occurs again as column 2" in data.profile


def test_a_duplicated_target_is_refused(file):
    message = refusal(file(GOOD.replace("x,k,label", "label,k,label")))
    assert "'label'" in message
    assert "two columns" in message


def test_a_target_that_is_not_there(file):
    message = refusal(file(GOOD), "lable")
    assert "There is no column 'lable'" in message
    assert "Did you mean label?" in message
    assert "--data.target" in message


def test_no_target_named(file):
    assert "--data.target NAME; it has x, k, label" in refusal(file(GOOD), None)


def test_a_column_in_an_option_that_is_not_there(file):
    assert "Did you mean" in refusal(file(GOOD), drop=["labels"])
    assert "'k' is in --data.numeric and in --data.categorical" in refusal(
        file(GOOD), numeric=["k"], categorical=["k"]
    )


def test_all_missing_and_constant_columns_are_left_out_and_reported(file):
    rows = "".join(f"{i},,7,same,{i % 2}\n" for i in range(40))
    data = read(file("x,nothing,seven,word,label\n" + rows))
    assert data.input_shape == (1,)
    assert "'nothing' has no value" in data.profile
    assert "'seven' has one value only" in data.profile
    assert "'word' has one value only" in data.profile


def test_a_column_that_only_other_rows_vary_in_is_left_out_and_reported(file):
    rows = "".join(f"{i % 7}.5,0.1,{i % 2}\n" for i in range(40))
    test = file("x,same,label\n" + rows.replace(",0.1,", ",0.2,"), "test.csv")
    data = read(file("x,same,label\n" + rows), test_path=str(test))
    assert data.input_shape == (1,)
    assert "'same' has one value only in the training rows" in data.profile


def test_nothing_left_to_learn_from(file):
    message = refusal(file("seven,label\n" + "7,a\n7,b\n" * 20))
    assert "no column to learn from" in message
    assert "'seven' has one value only" in message


def test_a_single_class(file):
    message = refusal(file("x,label\n" + "".join(f"{i},a\n" for i in range(30))))
    assert "'a' in every row" in message


def test_a_constant_regression_target(file):
    text = "x,label\n" + "".join(f"{i},1.5\n" for i in range(30))
    assert "1.5 in every row" in refusal(file(text), task="regression")


def test_a_class_with_one_row_trains_and_is_reported(file):
    data = read(file(GOOD + "3.5,a,z\n"))
    assert data.class_names == ["n", "y", "z"]
    assert (data.splits["train"][1] == 2).sum() == 1
    assert "class 'z' of 'label' has one row" in data.profile


def test_classes_of_one_row_each(file):
    assert "no class has two rows" in refusal(file("x,label\n1,a\n2,b\n3,c\n"))


def test_infinities_count_as_missing_and_are_reported(file):
    data = read(file(GOOD + "inf,a,y\n-inf,b,n\n1e300,a,y\n"))
    assert "'x': 3 infinite values count as missing" in data.profile
    assert np.isfinite(data.preprocessing["numeric"][0]["mean"])


def test_texts_among_numbers_count_as_missing_and_are_reported(file):
    data = read(file(GOOD + "n.b.,a,y\n"))
    assert "'x': 1 cells cannot be read" in data.profile
    assert "the first: 'n.b.' in row 41" in data.profile


def test_texts_among_numbers_far_below_the_sample(file):
    rows = "".join(f"{i},{i % 2}\n" for i in range(reading.SAMPLE))
    words = "".join(f"word {i % 5},{i % 2}\n" for i in range(reading.SAMPLE))
    data = read(file("x,label\n" + rows + words), categorical=["x"])
    assert data.preprocessing["categorical"][0]["name"] == "x"
    # Half of the column is no numbers, so it was never one of numbers, but a key or free text.
    assert "'x' has more than 20,000 different texts" in refusal(file("x,label\n" + rows + words))


def test_a_column_that_is_missing_in_the_whole_sample(file):
    rows = "".join(f",{i},{i % 2}\n" for i in range(reading.SAMPLE + 5))
    data = read(file("late,x,label\n" + rows + "".join(f"{i}.5,{i},{i % 2}\n" for i in range(50))))
    assert {e["name"] for e in data.preprocessing["numeric"]} == {"late", "x"}


def test_numbers_larger_than_float32_are_told_apart(file):
    data = read(file("x,label\n" + "".join(f"{10**12 + i * i},{i % 2}\n" for i in range(0, 90, 3))))
    values = np.concatenate([x.numpy() for x, _ in data.splits.values()])
    assert len(np.unique(values)) == 30


@pytest.mark.parametrize("content", [b"", b"\n\n\n", b"   "])
def test_an_empty_file(file, content):
    assert "t.csv is empty" in refusal(file(content))


def test_a_header_alone(file):
    assert "header but no rows" in refusal(file("x,k,label\n"))


def test_one_column_only(file):
    assert "no column to learn from" in refusal(file("label\n" + "a\nb\n" * 20))


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (bytes(range(256)) * 40, "binary file|not text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), "binary file|not text"),
        (GOOD.encode() + b"\0\0\0" + GOOD.encode(), "not text|binary"),
        (gzip.compress(GOOD.encode())[:-20], "damaged or incomplete archive"),
        (b"PK\x03\x04 broken", "damaged or incomplete archive"),
    ],
)
def test_a_binary_file(file, content, hint):
    message = refusal(file(content))
    assert any(part in message for part in hint.split("|"))


def test_an_office_workbook(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "x")
    assert "save the sheet as CSV" in refusal(tmp_path / "t.xlsx")


def test_an_archive_of_several_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.csv", GOOD)
        archive.writestr("b.csv", GOOD)
    assert "holds 2 files (a.csv, b.csv)" in refusal(tmp_path / "t.zip")


def test_a_folder(tmp_path):
    (tmp_path / "inside.csv").write_text(GOOD)
    message = refusal(tmp_path)
    assert "is a folder" in message
    assert "inside.csv" in message


def test_a_file_that_is_not_there(file):
    file(GOOD, "train.csv")
    message = refusal(file(GOOD).parent / "tran.csv")
    assert "There is no file" in message
    assert "train.csv" in message
    assert "No file matches" in refusal(file(GOOD).parent / "*.tsv")


def test_a_file_without_permission(file, monkeypatch):
    path = file(GOOD)
    # The tests may run as root, who may read anything.
    opened = Path.open

    def refuse(self, *args, **kwargs):
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match="may not be read"):
        Tabular(str(path), "label").setup()


def test_a_quotation_mark_that_is_never_closed(file):
    message = refusal(file(GOOD + '1,"a,y\n' + "1,a,y\n" * 3))
    assert "quotation mark" in message or "fields where 3" in message


def test_files_of_one_table_need_the_same_columns(file):
    file(GOOD, "p1.csv")
    path = file(GOOD.replace("x,k", "x,kind"), "p2.csv")
    message = refusal(path.parent / "p*.csv")
    assert "p2.csv has no column 'k'" in message
    assert "p1.csv has; files of one table need the same columns" in message


def test_a_target_that_is_missing_everywhere(file):
    assert "missing in all 20 rows" in refusal(file("x,label\n" + "1,\n2,\n" * 10))


def test_a_file_that_changes_while_it_is_read(file, monkeypatch):
    path = file(GOOD)
    chunks = reading.TableFile.chunks

    def growing(self, *args, **kwargs):
        for chunk in chunks(self, *args, **kwargs):
            with path.open("a") as still_writing:
                still_writing.write("1,a,y\n")
            yield chunk

    monkeypatch.setattr(reading.TableFile, "chunks", growing)
    with pytest.raises(UserError, match=r"t\.csv changed while it was read"):
        Tabular(str(path), "label").setup()


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"val_split": 40}, "--data.val_split 40"),
        ({"test_split": 1.5}, "--data.test_split 1.5"),
        ({"separator": "ab"}, "--data.separator"),
        ({"encoding": "klingon"}, "--data.encoding klingon"),
        ({"decimal": ",", "thousands": ","}, "--data.decimal and --data.thousands"),
        ({"class_weights": [1.0]}, "1 weights for the 2 classes"),
        ({"class_weights": [1.0, -1.0]}, "0 or more"),
        ({"class_weights": [0.0, 0.0]}, "not all of them 0"),
        ({"class_weights": [1.0, float("nan")]}, "0 or more"),
        ({"task": "regression"}, "holds texts"),
        ({"bins": 1}, "--data.bins"),
    ],
)
def test_options_that_do_not_fit(file, options, hint):
    assert hint in refusal(file(GOOD), **options)


def test_binary_of_three_classes(file):
    message = refusal(file(GOOD + "1,a,z\n"), task="binary")
    assert "has 3: n, y, z" in message


@pytest.mark.parametrize(
    ("scale", "offset", "said"),
    [
        (1e300, 0.0, "other units"),
        (1e20, 0.0, "other units"),
        (1e-300, 0.0, "other units"),
        (1.0, 1e9, "cannot tell apart"),
        (1e13, 0.0, ""),
        (1e-13, 0.0, ""),
        (1.0, 1e3, ""),
    ],
)
def test_a_target_that_single_precision_does_not_have_is_refused(
    tmp_path: Path, scale: float, offset: float, said: str
) -> None:
    rows = [f"{i},{offset + scale * (i % 37 + i / 7)!r}" for i in range(1, 101)]
    (tmp_path / "table.csv").write_text("\n".join(["x,y", *rows, ""]))
    data = Tabular(path=str(tmp_path / "table.csv"), target="y", cache="no")
    if not said:
        assert sum(len(x) for x, _ in data.splits.values()) == 100
        return
    with pytest.raises(UserError, match=f"The target 'y' goes from .*{said}"):
        data.setup()


def test_classes_may_be_numbers_of_any_size(tmp_path: Path) -> None:
    rows = [f"{i},{'1e300' if i % 2 else '-1e300'}" for i in range(40)]
    (tmp_path / "table.csv").write_text("\n".join(["x,y", *rows, ""]))
    data = Tabular(path=str(tmp_path / "table.csv"), target="y", cache="no")
    assert (data.task, data.class_names) == ("binary", ["-1e+300", "1e+300"])


@pytest.mark.parametrize("page", ["<!DOCTYPE html>\n<html>", "<html>\n", '<?xml version="1.0"?>\n'])
def test_a_page_in_place_of_the_file(file, page):
    assert "is HTML or XML, not a table" in refusal(file(f"{page}<a>1, 2</a>\n<b>1, 2</b>\n"))


def test_json_in_cells_is_no_json_file(file):
    quoted = '"{""a"": [1, 2]}"'
    rows = "".join(f"{i}.5,{quoted},{'yn'[i % 2]}\n" for i in range(40))
    assert len(read(file("x,k,label\n" + rows)).splits["train"][0]) > 20
    assert len(read(file("[x],{k},label\n" + rows)).splits["train"][0]) > 20
