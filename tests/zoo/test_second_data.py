"""A network used on other data than it was made with: read as the network reads, or refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from second import ADAM, USED, answers_of, direct, table_of_people, train_on, write
from torch.utils.data import DataLoader, TensorDataset
from toy import Numbers, network, trainer

import zoo
from datamodules import Tabular, TensorDataModule
from datamodules.following import UnlikeTrainingWarning
from zoo.architectures import FeedForward

pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec", "ignore:No (pos|neg)ative")


@pytest.fixture(scope="module")
def people() -> pd.DataFrame:
    return table_of_people()


@pytest.fixture(scope="module")
def runs(people: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_on(people, tmp_path_factory.mktemp("runs"))


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
    assert model.task.correct(model(x), y).sum() > 0.6 * len(y)


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
