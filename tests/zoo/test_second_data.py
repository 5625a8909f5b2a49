"""A network used on other data than it was made with: read as the network reads, or refused."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from toy import Numbers, network, trainer

import zoo
from datamodules import Tabular, TensorDataModule, TextCSV
from datamodules.following import UnlikeTrainingWarning
from datamodules.images import MNIST
from zoo.architectures import FeedForward

N = 240
ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.02}}

pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec", "ignore:No (pos|neg)ative")


# Networks, as another process finds them


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    """A table with every kind of column, three classes and a number that follow from it."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "row": np.arange(N),
            "age": rng.integers(18, 80, N) * 1.5,
            "city": rng.choice(["Rome", "Oslo", "Bern", "Kyiv"], N),
            "joined": pd.date_range("2020-01-01", periods=N, freq="3D").strftime("%d.%m.%Y"),
            "member": rng.choice(["yes", "no"], N),
            "fare": np.exp(rng.normal(3, 1.5, N)).round(3),
        }
    )
    score = frame["age"] + 40 * (frame["city"] == "Rome") + 20 * (frame["member"] == "yes")
    frame["class"] = np.select([score < 70, score < 100], ["low", "mid"], "top")
    frame["left"] = np.where(score > 85, "yes", "no")
    frame["price"] = (1e5 + 1e3 * score).round()
    frame["tax"] = 10 - 0.05 * score
    frame.loc[::9, "age"] = np.nan
    frame.loc[1::11, "city"] = np.nan
    return frame


USED = ["age", "city", "joined", "member", "fare"]


@pytest.fixture(scope="module")
def runs(people: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained network for each target."""
    folder = tmp_path_factory.mktemp("runs")
    people.to_csv(folder / "people.csv", index=False)
    for target in ("class", "left", "price", "tax", "price+tax"):
        data = Tabular(str(folder / "people.csv"), target.split("+"), columns=USED)
        torch.manual_seed(0)
        model = FeedForward(data.spec, hidden_dim=16).learn({"optimizer": ADAM})
        trainer(folder, 8).fit(model, datamodule=data)
        model.save_pretrained(folder / target)
    return folder


def write(frame: pd.DataFrame, folder: Path, **options: Any) -> str:
    frame.to_csv(folder / "second.csv", index=False, **options)
    return str(folder / "second.csv")


def answers_of(model: zoo.ZooModule, data: TensorDataModule) -> tuple[np.ndarray, torch.Tensor]:
    """Return the rows that a Trainer tests on, and the network's answers for them."""
    answers = trainer(Path()).predict(model, datamodule=data)
    key = "prediction" if model.spec.task == "regression" else "probabilities"
    return data.rows["test"], torch.cat([answer[key] for answer in answers])


def direct(model: zoo.ZooModule, frame: pd.DataFrame) -> torch.Tensor:
    """Return the network's answers for rows as a file has them, by its own preprocessing alone."""
    from datamodules.tabular.encode import encode_frame

    with torch.inference_mode():
        outputs = model(encode_frame(frame.astype(str), model.spec.preprocessing))
        predicted = model.task.predict(outputs, model.class_names)
    return predicted["prediction" if model.spec.task == "regression" else "probabilities"]


LAYOUTS = {
    "as it was": lambda f: f,
    "columns reordered": lambda f: f[sorted(f.columns, reverse=True)],
    "columns added": lambda f: f.assign(aaa="x", more=1.5),
    "rows reordered": lambda f: f.iloc[::-1].reset_index(drop=True),
    "a category absent": lambda f: f[f["city"] != "Bern"].reset_index(drop=True),
    "a category new and first": lambda f: f.assign(city=f["city"].replace("Oslo", "Aachen")),
    "no date varies": lambda f: f.assign(joined="04.01.2020"),
    "nothing missing": lambda f: f.dropna().reset_index(drop=True),
    "a class absent": lambda f: f[f["class"] != "low"].reset_index(drop=True),
    "one class": lambda f: f[f["class"] == "mid"].reset_index(drop=True),
    "words for numbers": lambda f: f.assign(fare=f["fare"] > 20),
    "numbers like words": lambda f: f.assign(fare=f["fare"].map("$ {:.3f}".format)),
}


@pytest.mark.filterwarnings("ignore::datamodules.following.UnlikeTrainingWarning")
@pytest.mark.parametrize("cache", ["no", "yes"])
@pytest.mark.parametrize("target", ["class", "left", "price"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_row_gets_the_same_answer_however_its_table_is_laid_out(
    layout: str, target: str, cache: str, runs: Path, people: pd.DataFrame, tmp_path: Path
) -> None:
    frame = LAYOUTS[layout](people)
    data = zoo.create_datamodule(
        "csv", path=write(frame, tmp_path), target=target, cache=cache, cache_dir=str(tmp_path)
    )
    rows, answers = answers_of(model := zoo.load_weights(runs / target), data)
    torch.testing.assert_close(answers, direct(model, frame.iloc[rows]))
    truth = frame[target].iloc[rows]
    if target == "price":
        assert data.splits["test"][1][:, 0].tolist() == truth.tolist()
    else:
        named = [model.class_names[int(i)] for i in data.splits["test"][1]]
        assert named == truth.tolist()


@pytest.mark.parametrize("method", ["fit", "validate", "test", "predict"])
def test_loaders_are_refused_that_read_a_table_otherwise(
    method: str, runs: Path, people: pd.DataFrame, tmp_path: Path
) -> None:
    """A loader alone cannot be made to read as the network does, unlike its datamodule."""
    frame = people[sorted(people.columns, reverse=True)]
    model = zoo.load_weights(runs / "class").learn({"optimizer": ADAM})
    data = Tabular(write(frame, tmp_path), "class", columns=USED)
    split = {"fit": "train", "validate": "val"}.get(method, "test")
    with pytest.raises(zoo.UserError, match="datamodule="):
        getattr(trainer(tmp_path), method)(model, getattr(data, f"{split}_dataloader")())
    following = zoo.create_datamodule(
        "csv", path=str(tmp_path / "second.csv"), target="class", columns=USED, like=model
    )
    getattr(trainer(tmp_path), method)(model, getattr(following, f"{split}_dataloader")())


def test_the_command_and_the_trainer_answer_alike(
    runs: Path, people: pd.DataFrame, tmp_path: Path, run_cli: Any
) -> None:
    """Semicolons, decimal commas, other columns: the command's predictions are the Trainer's."""
    frame = people.drop(columns=["price", "tax"])[sorted(people.columns.drop(["price", "tax"]))]
    path = write(frame, tmp_path, sep=";", decimal=",")
    model = zoo.load_weights(runs / "class")
    rows, answers = answers_of(model, zoo.create_datamodule("csv", path=path, target="class"))
    result = run_cli("predict", "--weights", runs / "class", "--input", path, "--output", "o.csv")
    assert result.status == 0, result.err
    written = pd.read_csv("o.csv", sep=";", decimal=",").iloc[rows]
    columns = [f"probability_{name}" for name in model.class_names]
    np.testing.assert_allclose(written[columns], answers, atol=1e-6)


@pytest.mark.parametrize("target", ["class", "left", "price"])
def test_metrics_are_those_of_the_same_rows(
    target: str, runs: Path, people: pd.DataFrame, tmp_path: Path
) -> None:
    frame = people.assign(part=np.where(people["row"] % 3, "train", "test"))
    frame.to_csv(tmp_path / "first.csv", index=False)
    options = {"target": target, "split_column": "part"}
    model = zoo.load_weights(runs / target)
    metrics = []
    for other in (frame, frame[frame.columns[::-1]].assign(new=0)):
        data = zoo.create_datamodule("csv", path=write(other, tmp_path), **options)
        metrics += trainer(tmp_path).test(model, datamodule=data, verbose=False)
        metrics += trainer(tmp_path).validate(model, datamodule=data, verbose=False)
    assert metrics[:2] == metrics[2:]
    if target == "price":
        truth, guess = frame["price"][::3], direct(model, frame[::3])[:, 0].numpy()
        assert metrics[0]["mae/test"] == pytest.approx(np.abs(truth - guess).mean(), rel=1e-4)
    else:
        assert metrics[0]["accuracy/test"] > 0.7


def test_splits_that_were_read_before_are_read_again(
    runs: Path, people: pd.DataFrame, tmp_path: Path
) -> None:
    frame = people[people.columns[::-1]]
    data = zoo.create_datamodule("csv", path=write(frame, tmp_path), target="class")
    own = zoo.create_model("tabular_mlp", datamodule=data, hidden_dim=8).eval()
    known = zoo.load_weights(runs / "class")
    other = zoo.load_weights(runs / "left")
    assert data.class_names == ["low", "mid", "top"]
    for model in (known, own, known):
        rows, answers = answers_of(model, data)
        torch.testing.assert_close(answers, direct(model, frame.iloc[rows]))
    with pytest.raises(zoo.UserError, match="does not know class 'low'"):
        answers_of(other, data)
    rows, answers = answers_of(known, data)
    torch.testing.assert_close(answers, direct(known, frame.iloc[rows]))


def test_data_can_be_read_like_a_network_without_a_trainer(
    runs: Path, people: pd.DataFrame, tmp_path: Path
) -> None:
    model = zoo.load_weights(runs / "class")
    path = write(people[people["class"] != "low"], tmp_path)
    data = zoo.create_datamodule("csv", path=path, target="class", like=model)
    assert data.class_names == model.class_names
    assert data.input_shape == tuple(model.spec.input_shape)
    x, y = data.splits["val"]
    assert set(y.tolist()) == {1, 2}  # "mid", though it is the first of the file's own, is 1
    assert model.task.num_correct(model(x), y) > 0.6 * len(y)


# Fine-tuning


def test_training_goes_on_with_the_vocabularies_and_scales_of_the_weights(
    runs: Path, people: pd.DataFrame, tmp_path: Path
) -> None:
    frame = people.assign(
        city=people["city"].replace("Oslo", "Aachen"), age=people["age"] * 3, member="no"
    )
    data = zoo.create_datamodule("csv", path=write(frame, tmp_path), target="class")
    model = zoo.load_weights(runs / "class").learn({"optimizer": ADAM})
    before = model.spec.preprocessing
    with pytest.warns(UnlikeTrainingWarning, match=r"column 'city': \d+ of 240 .*first: 'Aachen'"):
        trainer(tmp_path, 2).fit(model, datamodule=data)
    assert model.spec.preprocessing == before
    assert model.class_names == ["low", "mid", "top"]
    model.save_pretrained(tmp_path / "tuned")
    again = zoo.load_weights(tmp_path / "tuned")
    torch.testing.assert_close(direct(again, people), direct(model.eval(), people))


def test_a_new_head_keeps_the_columns_and_takes_the_new_classes(
    runs: Path, people: pd.DataFrame, tmp_path: Path
) -> None:
    path = write(people[people.columns[::-1]], tmp_path)
    model = zoo.load_weights(runs / "class").learn({"optimizer": ADAM})
    model.reset_head(2)  # without names: those of the data
    trainer(tmp_path, 1).fit(
        model, datamodule=zoo.create_datamodule("csv", path=path, target="left")
    )
    assert model.class_names == ["no", "yes"]
    swapped = zoo.load_weights(runs / "class").learn({"optimizer": ADAM})
    swapped.reset_head(1, ["yes", "no"], task="binary")
    data = zoo.create_datamodule("csv", path=path, target="left")
    trainer(tmp_path, 8).fit(swapped, datamodule=data)
    rows, answers = answers_of(swapped, data)
    truth = people["left"].iloc[rows].to_numpy()
    guesses = np.array(["yes", "no"])[answers.argmax(dim=1)]
    assert (guesses == truth).mean() > 0.7
    assert [("yes", "no")[int(y)] for y in data.splits["test"][1]] == truth.tolist()


def test_a_checkpoint_is_not_loaded_into_a_network_with_other_columns(
    people: pd.DataFrame, tmp_path: Path
) -> None:
    def made(frame: pd.DataFrame) -> tuple[zoo.ZooModule, TensorDataModule]:
        data = Tabular(write(frame, tmp_path), "class", columns=USED)
        return zoo.create_model("tabular_mlp", datamodule=data, hidden_dim=8), data

    model, data = made(people)
    first = trainer(tmp_path, 1, enable_checkpointing=True)
    first.fit(model, datamodule=data)
    first.save_checkpoint(tmp_path / "a.ckpt")
    other, data = made(people.iloc[::-1])  # "city" has its codes in another order
    with pytest.raises(zoo.UserError, match="other columns, categories or words"):
        trainer(tmp_path, 2).fit(
            other, datamodule=data, ckpt_path=tmp_path / "a.ckpt", weights_only=True
        )
    again = type(model).load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    torch.testing.assert_close(direct(again.eval(), people), direct(model.eval(), people))


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


# What goes on as before


def test_plain_loaders_and_new_networks_are_left_alone(tmp_path: Path) -> None:
    data = Numbers()
    model = network(data)
    loader = DataLoader(TensorDataset(*data.splits["train"]), batch_size=16)
    trainer(tmp_path, 1).fit(model, loader)
    splits = data.splits
    trainer(tmp_path, 1).fit(model, datamodule=data)
    assert data.splits is splits
    unnamed = FeedForward(replace(data.spec, class_names=None)).learn({"optimizer": ADAM})
    trainer(tmp_path, 1).fit(unnamed, datamodule=data)
    assert unnamed.class_names == ["a", "b", "c"]
    unnamed = FeedForward(replace(data.spec, class_names=None))
    with pytest.raises(zoo.UserError, match="tells 3 classes apart; these data have 2"):
        trainer(tmp_path, 1).fit(unnamed, datamodule=Numbers("binary"))


def test_evaluate_repeats_a_tables_figures(
    run_cli: Any, people: pd.DataFrame, tmp_path: Path
) -> None:
    path = write(people.drop(columns=["left", "price", "tax"]), tmp_path)
    fit = run_cli(
        "fit", "--model", "tabular_mlp", "--data.path", path, "--data.target", "class",
        "--trainer.max_epochs", 2,
    )  # fmt: skip
    assert fit.status == 0, fit.err
    result = run_cli("evaluate", "runs/tabular_mlp/version_0")
    assert result.status == 0, result.err
    rows = {line.split()[0]: line.split()[1:] for line in result.out.splitlines() if line}
    assert rows["measured"] == rows["card"]
