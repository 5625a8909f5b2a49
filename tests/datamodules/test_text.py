"""Sentences: reading, tokenizing, vocabulary and padding."""

from pathlib import Path

import pytest
import torch

from datamodules import TextCSV, UserError
from datamodules.text import token_ids, tokenize, vocabulary


def write(path: Path, header: str, *rows: str) -> str:
    path.write_text("\n".join([header, *rows]), "utf-8")
    return str(path)


def test_words() -> None:
    assert tokenize("It's GREAT, isn't it?  9/10 -- naïve_test") == [
        "it's", "great", "isn't", "it", "9", "10", "naïve", "test",
    ]  # fmt: skip
    assert tokenize("... !") == []


def test_ids_are_padded_behind_the_last_word_and_cut_off() -> None:
    known = vocabulary([["a", "b", "a"], ["c", "b", "a"]], size=2)
    assert known == ["<pad>", "<unk>", "a", "b"]
    ids = token_ids([["a"], ["b", "c", "a", "a"], []], known, max_length=3)
    assert ids.tolist() == [[2, 0, 0], [3, 1, 2], [1, 0, 0]]
    assert ids.dtype == torch.int64


def test_synthetic_reviews_are_there_without_a_file() -> None:
    data = TextCSV()
    assert data.origin == "synthetic"
    assert (data.task, data.num_outputs) == ("binary", 1)
    assert data.class_names == ["negative", "positive"]
    sizes = [len(x) for x, _ in data.splits.values()]
    assert sizes == [3240, 360, 400]
    assert data.input_shape == (64,)
    x, y = data.splits["train"]
    assert (x.dtype, y.dtype) == (torch.int64, torch.float32)
    assert 0.4 < y.mean() < 0.6
    assert int(x.max()) < len(data.preprocessing["vocabulary"])


def test_a_file_of_three_labels(tmp_path: Path) -> None:
    rows = [f'"row {i}, a {("good", "bad", "odd")[i % 3]} one",{"pno"[i % 3]}' for i in range(60)]
    path = write(tmp_path / "x.csv", "review,mark", *rows)
    data = TextCSV(path, text="review", label="mark", max_length=6)
    assert (data.origin, data.task, data.class_names) == ("real", "multiclass", ["n", "o", "p"])
    x, y = data.splits["train"]
    assert y.dtype == torch.int64
    words = data.preprocessing["vocabulary"]
    kind = {"good": "p", "bad": "n", "odd": "o"}
    for row, target in zip(x, y, strict=True):
        assert kind[words[row[3]]] == data.class_names[target]


def test_the_vocabulary_is_of_the_training_sentences_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "text,label", *(f"word{i},{i % 2}" for i in range(50)))
    data = TextCSV(path)
    assert len(data.preprocessing["vocabulary"]) == 2 + len(data.splits["train"][0])
    assert (data.splits["test"][0][:, 0] == 1).all()  # unknown


def test_a_rows_label_may_be_missing_and_na_is_a_word(tmp_path: Path) -> None:
    rows = [*(f"NA text,{'NA' if i % 2 else 'x'}" for i in range(40)), "no label,"]
    data = TextCSV(write(tmp_path / "x.csv", "text,label", *rows))
    assert data.class_names == ["NA", "x"]
    assert sum(len(x) for x, _ in data.splits.values()) == 40


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("text,label\na,1\nb,1\nc,1", {}, r"one label only.*'1'"),
        ("sentence,label\na,1\nb,0", {}, r"no column 'text'.*--data.text"),
        ("text,lable\na,1\nb,0", {}, r"no column 'label'.*Did you mean lable.*--data.label"),
        ("", {}, "cannot be read as CSV"),
        ("text,label\na,1\nb,0", {"max_length": 0}, "--data.max_length must be at least 1"),
        ("text,label\na,1\nb,0", {"vocabulary_size": 0}, "--data.vocabulary_size must be"),
        ("text,label\na,1\nb,0", {"test_size": 5}, r"5 of 2 examples.*--data\.test_size"),
        (
            "text,label\na,1\nb,0\nc,0",
            {"test_size": 1, "val_size": 7},
            r"7 of 2 examples.*--data\.val_size",
        ),
    ],
    ids=["one label", "text", "label", "empty", "length", "vocabulary", "test", "val"],
)
def test_a_mistake_gets_one_sentence(
    content: str, options: dict[str, int], message: str, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(UserError, match=message) as refusal:
        TextCSV(str(tmp_path / "x.csv"), **options).setup()
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        TextCSV(str(tmp_path / "nowhere.csv")).setup()


def test_sentences_that_are_split_already(tmp_path):
    for name, count in {"train": 30, "val": 4, "test": 6}.items():
        rows = [f"{name} {i} is {'good' if i % 2 else 'bad'},{i % 2}" for i in range(count)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]))
    paths = {
        f"{s}path": str(tmp_path / f"{n}.csv")
        for s, n in {"": "train", "val_": "val", "test_": "test"}.items()
    }
    data = TextCSV(**paths)
    assert {split: len(y) for split, (_, y) in data.splits.items()} == {
        "train": 30,
        "val": 4,
        "test": 6,
    }
    assert "val" not in data.preprocessing["vocabulary"]
    assert set(data.checksums) == {"train.csv", "val.csv", "test.csv"}
    (tmp_path / "test.csv").write_text("text,label\nnew,strange\n")
    with pytest.raises(UserError, match=r"test\.csv' has label 'strange'"):
        _ = TextCSV(**paths).splits
