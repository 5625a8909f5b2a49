"""`evaluate`: other figures than the card's are never given without a word on why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy import Numbers

import zoo
from zoo.cards import Card
from zoo.evaluation import compare, data_changes

Run = Callable[..., Any]

TABLE = ("--data", "csv", "--data.path", "t.csv", "--data.target", "y", "--inspect", "none")
DATA_FILES = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]


def write_table(path: Path, rows: int = 200, turned: int = 0) -> None:
    """Write a table in which `y` follows from `a`, the other way round in some rows."""
    lines = [
        f"{i % 7},{i % 3},{'yes' if (i % 7 > 3) != (i < turned) else 'no'}" for i in range(rows)
    ]
    path.write_text("\n".join(["a,b,y", *lines]) + "\n")


@pytest.fixture
def run(run_cli: Run, tmp_path: Path) -> Path:
    """A run on a table of its own."""
    write_table(tmp_path / "t.csv")
    result = run_cli("fit", "--model", "tabular_mlp", *TABLE, "--trainer.max_epochs", 1)
    assert result.status == 0, result.err
    return Path("runs/tabular_mlp/version_0")


def last_paragraph(result: Any) -> str:
    assert result.status == 0, result.err
    return result.out.strip().split("\n\n")[-1]


def test_the_same_files_need_no_word(run_cli: Run, run: Path) -> None:
    result = run_cli("evaluate", run)
    assert result.status == 0, result.err
    assert "\ncard " in result.out
    assert "Other figures" not in result.out


def test_a_file_that_has_changed_is_named(run_cli: Run, run: Path) -> None:
    write_table(Path("t.csv"), turned=100)
    said = last_paragraph(run_cli("evaluate", run))
    assert said.startswith("Other figures than the card's: loss, accuracy")
    assert "The likely reason: t.csv: not the files of the card, by their checksums." in said


def test_a_file_with_more_rows_is_named_with_the_sizes(run_cli: Run, run: Path) -> None:
    write_table(Path("t.csv"), rows=400)
    said = last_paragraph(run_cli("evaluate", run))
    assert "t.csv: not the files of the card" in said
    assert "train has 280 examples, not 140" in said


def test_other_files_with_the_same_figures_are_told_too(run_cli: Run, run: Path) -> None:
    with Path("t.csv").open("a") as file:
        file.write("\n")  # an empty line is no row
    said = last_paragraph(run_cli("evaluate", run))
    assert said.startswith("The figures are the card's, but the data are not: t.csv")


def test_figures_that_nothing_explains_are_told_as_such(run_cli: Run, run: Path) -> None:
    card = json.loads((run / "card.json").read_text())
    card["metrics"]["accuracy/test"] = 0.123
    (run / "card.json").write_text(json.dumps(card))
    said = last_paragraph(run_cli("evaluate", run))
    assert said == (
        "Other figures than the card's: accuracy. The likely reason: nothing that the card records."
    )
    (run / "card.json").write_text(json.dumps({**card, "files": {}, "torch_version": "1.0"}))
    said = last_paragraph(run_cli("evaluate", run))
    assert "the card does not say which files it was measured on" in said
    assert "the card's torch was 1.0" in said


def test_a_runs_card_has_the_checksum_of_its_file(run_cli: Run, run: Path) -> None:
    before = json.loads((run / "card.json").read_text())["files"]
    assert list(before) == ["t.csv"]
    Path("other").mkdir()
    Path("t.csv").rename("other/t2.csv")
    moved = zoo.create_datamodule("csv", path="other/t2.csv", target="y")
    assert list(moved.checksums.values()) == list(before.values())


# What a card without checksums tells


def card(**described: Any) -> Card:
    needed = {"name": "n", "sha256": "", "bytes": 1, "parameters": 1, "input_shape": [5]}
    dataset = {"name": "Numbers", "origin": "real", **described.pop("dataset", {})}
    return Card(**needed, class_names=["a", "b", "c"], dataset=dataset, **described)


@pytest.mark.parametrize(
    ("then", "now", "says"),
    [
        ([], [], None),
        (DATA_FILES, [], "the card's were not the published ones, these are"),
        (["t10k-images-idx3-ubyte.gz", DATA_FILES[1]], [], "the card's were not the published"),
        ([], DATA_FILES, "the card's were the published ones, these are not"),
        (DATA_FILES, DATA_FILES, "neither the card's nor these are the published ones"),
    ],
)
def test_files_are_told_apart_by_being_the_published_ones(
    then: list[str], now: list[str], says: str | None
) -> None:
    data = Numbers()
    data.origin, data.unpublished_files = "real", now
    listed = {"unpublished_files": ", ".join(then)} if then else {}
    changes = data_changes(card(dataset=listed), data)
    if says is None:
        assert changes == []
    else:
        (change,) = changes
        assert change.startswith(f"{', '.join(DATA_FILES)}: {says}")


def test_drawn_data_are_not_real_ones() -> None:
    data = Numbers()
    data.origin = "synthetic"
    assert data_changes(card(), data) == ["the card's data are real, these are synthetic"]


@pytest.mark.parametrize(
    ("measured", "recorded", "same"),
    [
        (0.99, 0.9901, False),  # one example of 10,000
        (0.12345678, 0.123457, True),  # the card's six places
        (1234.5678, 1234.567, True),  # a regression in large units
        (1234.5, 1235.5, False),
        (float("nan"), float("nan"), True),  # an AUROC of one class
        (float("nan"), 0.5, False),
    ],
)
def test_rounding_is_no_difference(measured: float, recorded: float, same: bool) -> None:
    data = Numbers()
    data.origin = "real"
    assert (compare(card(), data, {"m": measured}, {"m": recorded}) == "") == same


# Weights of another recipe


def test_other_recipes_weights_are_told_once_and_own_ones_not(run_process: Run) -> None:
    code = (
        "import zoo\n"
        "for name in ('mnist_net', 'mnist_net', 'xor_mlp', 'xor_mlp.documented', "
        "'mnist_rnn.tuned'):\n"
        "    print(zoo.model_card(name).name)\n"
        "    zoo.create_model(name, pretrained=True)\n"
        "zoo.load_weights('conv_net')\n"
        "zoo.architectures.FeedForward.from_pretrained('fashion_ffnn')\n"
    )
    result = run_process("-c", "import zoo.architectures\n" + code)
    assert result.status == 0, result.err
    assert result.out.split()[:2] == ["mnist_net.tuned", "mnist_net.tuned"]
    assert result.err.splitlines() == [
        "mnist_net: the zoo's weights for it are those of mnist_net.tuned.",
        "conv_net: the zoo's weights for it are those of conv_net.tuned.",
        "fashion_ffnn: the zoo's weights for it are those of fashion_ffnn.tuned.",
    ]


@pytest.mark.real_data
def test_digits_on_the_published_files_have_the_figures_of_the_card(run_cli: Run) -> None:
    result = run_cli("evaluate", "mnist_net")
    assert "mnist_net.tuned on MNIST (real), test split" in result.out
    assert "Other figures" not in result.out
