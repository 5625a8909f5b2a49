"""What cannot be read as a network reads is refused; texts and images are read as it does."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from second import ADAM, table_of_people, train_on, write
from toy import Numbers, network, trainer

import zoo
from datamodules import Tabular, TextCSV
from datamodules.following import UnlikeTrainingWarning
from datamodules.images import MNIST
from zoo.architectures import FeedForward

pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec", "ignore:No (pos|neg)ative")


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    return table_of_people()


@pytest.fixture(scope="module")
def runs(people: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_on(people, tmp_path_factory.mktemp("runs"))


# What cannot be mapped


REFUSED = {
    "a column that is not there": (
        "class", lambda f: f.drop(columns="age").rename(columns={"fare": "Fare"}),
        {}, r"second.csv lacks 2 of the 5 columns.*'fare' \(is it 'Fare'\?\)",
    ),
    "a further class": (
        "class", lambda f: f.assign(**{"class": f["class"].replace("low", "lowest")}),
        {}, r"does not know class 'lowest'.*only low, mid, top. Is it 'low'\?",
    ),
    "a quantity for classes": (
        "class", lambda f: f, {"target": "price"}, r"does not know class '\d+' of these data",
    ),
    "classes for a quantity": (
        "price", lambda f: f, {"target": "left"}, "predicts quantities; these data have classes",
    ),
    "another task": (
        "class", lambda f: f, {"task": "regression"}, "regression is not the task of the network",
    ),
    "a target that the network reads": (
        "price", lambda f: f, {"target": "fare"}, "reads column 'fare', which here is the target",
    ),
    "a column that it reads, left out": (
        "class", lambda f: f, {"drop": ["age"]}, "reads column 'age', which here is left out",
    ),
    "a column read as another kind": (
        "class", lambda f: f, {"categorical": ["age"]}, "'age', which the network reads as numeric",
    ),
    "other targets": (
        "price+tax", lambda f: f, {"target": ["price", "row"]}, "predicts price, tax, in this",
    ),
    "fewer targets": (
        "price+tax", lambda f: f, {"target": "price"}, "predicts 2 numbers, not 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_cannot_be_mapped_is_refused_with_one_sentence(
    case: str, runs: Path, people: pd.DataFrame, tmp_path: Path
) -> None:
    run, change, options, message = REFUSED[case]
    path = write(change(people), tmp_path)
    data = zoo.create_datamodule("csv", path=path, **{"target": run, **options})
    model = zoo.load_weights(runs / run)
    for _ in range(2):  # and so it stays
        with pytest.raises(zoo.UserError, match=message) as refusal:
            trainer(tmp_path).test(model, datamodule=data, verbose=False)
        assert "\n" not in str(refusal.value)


def test_several_targets_are_taken_in_the_networks_order(
    runs: Path, people: pd.DataFrame, tmp_path: Path
) -> None:
    path = write(people, tmp_path)
    data = zoo.create_datamodule("csv", path=path, target=["tax", "price"])
    (metrics,) = trainer(tmp_path).test(
        zoo.load_weights(runs / "price+tax"), datamodule=data, verbose=False
    )
    assert metrics["r2/test"] > 0
    truth = people[["price", "tax"]].iloc[data.rows["test"]]
    np.testing.assert_allclose(data.splits["test"][1], truth, rtol=1e-6)


def test_a_target_of_another_name_is_compared_but_not_silently(
    runs: Path, people: pd.DataFrame, tmp_path: Path
) -> None:
    path = write(people.assign(worth=people["price"] + 500), tmp_path)
    data = zoo.create_datamodule("csv", path=path, target="worth")
    with pytest.warns(UnlikeTrainingWarning, match="predicts price; here .* compared with worth"):
        trainer(tmp_path).test(zoo.load_weights(runs / "price"), datamodule=data, verbose=False)


def test_data_of_another_kind_are_refused(runs: Path, tmp_path: Path) -> None:
    table = zoo.load_weights(runs / "class")
    digits = zoo.load_weights("mnist_net")
    text = TextCSV(max_length=8)
    for model, data, message in (
        (table, text, "reads tables, but these data are texts"),
        (table, MNIST(source="synthetic"), "reads tables, but these data are images"),
        (table, zoo.create_datamodule("blobs"), "reads tables, but these data are numbers"),
        (
            digits,
            Tabular(str(runs / "people.csv"), "class"),
            "reads images, but these data are tab",
        ),
        (digits, zoo.create_datamodule("fashion_mnist", source="synthetic"), "class 'T-shirt/top'"),
        (digits, MNIST(source="synthetic", positive_classes=[1]), "does not know class 'not 1'"),
        (network(Numbers()), Numbers("binary"), "classes are a, b, c, in this order; .* no, yes"),
        (network(Numbers()), Numbers("regression"), "the target of these data is a quantity"),
        (network(Numbers()), zoo.create_datamodule("blobs"), r"shape \(5,\); .*\(10,\)"),
    ):
        with (
            pytest.raises(zoo.UserError, match=message),
            warnings.catch_warnings(action="ignore"),
        ):
            trainer(tmp_path).test(model, datamodule=data, verbose=False)


# Texts and images


def reviews(order: int, first: str = "bad") -> list[tuple[str, str]]:
    words = {
        "good": ["fine", "great", "lovely"],
        "bad": ["dull", "poor", "awful"],
        "odd": ["weird"],
    }
    rows = [
        (f"a {word} film number {i % 7}", label)
        for i in range(30)
        for label in ("good", "bad")
        for word in words[label]
    ]
    return rows[::order]


def write_reviews(folder: Path, name: str, rows: list[tuple[str, str]]) -> str:
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(folder / name, index=False)
    return str(folder / name)


def test_sentences_are_read_with_the_networks_words_and_classes(tmp_path: Path) -> None:
    data = TextCSV(write_reviews(tmp_path, "first.csv", reviews(1)), max_length=6)
    torch.manual_seed(0)
    model = FeedForward(data.spec, hidden_dim=8).learn({"optimizer": ADAM})
    trainer(tmp_path, 10).fit(model, datamodule=data)
    (expected,) = trainer(tmp_path).test(model, datamodule=data, verbose=False)
    assert expected["accuracy/test"] == 1.0
    # Other words, hence other ids, another length, and one class alone.
    rows = [(f"{text} zzz zzz", label) for text, label in reviews(-1) if label == "good"]
    for path in (
        write_reviews(tmp_path, "reversed.csv", reviews(-1)),
        write_reviews(tmp_path, "one_class.csv", rows),
    ):
        second = TextCSV(path, max_length=9)
        if path.endswith("reversed.csv"):
            second.setup()  # its own words, until the network comes along
        with warnings.catch_warnings(action="ignore", category=UnlikeTrainingWarning):
            (found,) = trainer(tmp_path).test(model, datamodule=second, verbose=False)
        assert found["accuracy/test"] == 1.0
        assert second.preprocessing["vocabulary"] == data.preprocessing["vocabulary"]
    strange = write_reviews(tmp_path, "strange.csv", [("wat ist dat", "good")] * 30)
    with pytest.warns(UnlikeTrainingWarning, match="90 of 90 words; of 30 of 30 sentences"):
        trainer(tmp_path).test(model, datamodule=TextCSV(strange), verbose=False)
    more = write_reviews(tmp_path, "more.csv", [*reviews(1), *[("a weird film", "odd")] * 5])
    with pytest.raises(zoo.UserError, match=r"does not know class .odd. .* only bad, good"):
        trainer(tmp_path).test(model, datamodule=TextCSV(more), verbose=False)


@pytest.mark.filterwarnings("ignore::datamodules.images.SyntheticDataWarning")
def test_some_classes_of_images_keep_the_networks_numbers(tmp_path: Path) -> None:
    model = zoo.load_weights("mnist_net")
    data = MNIST(source="synthetic", classes=[7, 3])
    data.setup()
    assert set(data.splits["test"][1].tolist()) == {0, 1}
    (part,) = trainer(tmp_path).test(model, datamodule=data, verbose=False)
    assert set(data.splits["test"][1].tolist()) == {3, 7}
    assert data.class_names == model.class_names
    x, y = MNIST(source="synthetic").splits["test"]
    chosen = (y == 3) | (y == 7)
    with torch.inference_mode():
        right = (model(x[chosen]).argmax(1) == y[chosen]).float().mean()
    assert part["accuracy/test"] == pytest.approx(right.item())


@pytest.mark.filterwarnings("ignore::datamodules.images.SyntheticDataWarning")
def test_images_are_scaled_as_the_network_scales_them(tmp_path: Path) -> None:
    model = zoo.load_weights("mnist_net")
    found = [
        trainer(tmp_path).test(
            model, datamodule=MNIST(source="synthetic", normalize=normalize), verbose=False
        )
        for normalize in (False, True)
    ]
    assert found[0] == found[1]
