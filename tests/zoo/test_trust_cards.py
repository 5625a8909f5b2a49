"""What a card names is not run, and it does not say where to write.

Every payload leaves a mark when it runs: a file that must not be there afterwards.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile import QUICK, Run, change_card, touch

import zoo
from zoo.run_recipe import choose_recipe

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    "data",
    [
        "payload.data",
        {"class_path": "payload.data"},
        {"class_path": "payload.Net", "init_args": {}},
        {"class_path": "unittest.__main__.Data"},
        {"class_path": "datamodules.base.os.system", "init_args": {"command": "touch mark"}},
        {"class_path": "datamodules.base.LightningDataModule"},
        {"class_path": "datamodules.augment.RandomShift"},
        {"class_path": "datamodules.images.datasets.MNIST", "init_args": {"root": "mark"}},
        {"class_path": ["datamodules.LogicGate"]},
        {"class_path": "datamodules.LogicGate", "init_args": ["touch"]},
        {"init_args": {}},
        [],
        3,
        None,
    ],
)
def test_a_card_names_data_and_nothing_else(xor_run: Path, run_cli: Run, data: Any) -> None:
    change_card(xor_run, lambda card: card["recipe"].update(data=data))
    result = run_cli("evaluate", xor_run)
    assert result.status == 2
    assert result.err.startswith("error: ")
    assert not Path("mark").exists()
    assert "payload" not in sys.modules


@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: [x], lambda x: {"a": x}, lambda x: [{"a": [x]}]]
)
@pytest.mark.parametrize("group", ["init_args", "dict_kwargs"])
@pytest.mark.parametrize("argument", ["gate", "batch_size", "augment", "seed"])
def test_classes_in_a_cards_data_arguments_are_not_called(
    xor_run: Path, run_cli: Run, wrap: Callable, group: str, argument: str
) -> None:
    for spec in (touch(Path("mark").absolute()), {"class_path": "payload.Net"}):
        change_card(
            xor_run, lambda c, s=spec: c["recipe"]["data"].update({group: {argument: wrap(s)}})
        )
        for command in (("evaluate", xor_run), ("ship", xor_run, xor_run, xor_run)):
            run_cli(*command)
        assert not Path("mark").exists()
        assert "payload" not in sys.modules


def test_the_rest_of_a_cards_recipe_is_only_words(xor_run: Path, run_cli: Run) -> None:
    mark = Path("mark").absolute()
    named = {
        "optimizer": touch(mark),
        "lr_scheduler": touch(mark),
        "model": touch(mark),
        "trainer": {"callbacks": [touch(mark)], "logger": touch(mark), "strategy": "payload.Net"},
    }
    change_card(xor_run, lambda card: card["recipe"].update(named))
    assert run_cli("evaluate", xor_run).status == 0
    assert not mark.exists()
    assert "payload" not in sys.modules


def with_arguments(key: str, class_path: str, **arguments: Any) -> dict[str, Any]:
    return {key: {"class_path": class_path, "init_args": arguments}}


SCHEDULES = "torch.optim.lr_scheduler"


@pytest.mark.parametrize(
    "named",
    [
        {"optimizer": "payload.Net"},
        {"optimizer": {"class_path": "payload.Net"}},
        with_arguments("optimizer", "torch.optim.SGD", lr="payload.Net"),
        {"lr_scheduler": "payload.Net"},
        with_arguments("lr_scheduler", f"{SCHEDULES}.LambdaLR", lr_lambda="payload.data"),
        with_arguments("lr_scheduler", f"{SCHEDULES}.LambdaLR", lr_lambda=["os.system"]),
        with_arguments("lr_scheduler", f"{SCHEDULES}.CyclicLR", scale_fn="payload.data"),
        with_arguments("data", "datamodules.MNIST", augment=["payload.Net"]),
        with_arguments("data", "datamodules.MNIST", augment='[{"class_path": "payload.Net"}]'),
        with_arguments("data", "datamodules.MNIST", augment=[{"class_path": "payload.Net"}]),
        {"model": "payload.Net"},
        {"model": {"class_path": "payload.Net"}},
    ],
)
def test_a_training_that_starts_from_weights_alone_runs_nothing_of_their_card(
    xor_run: Path, run_cli: Run, named: dict[str, Any]
) -> None:
    change_card(xor_run, lambda card: card["recipe"].update(named))
    result = run_cli("fit", "--weights", xor_run, *QUICK)
    assert result.status == 2, result.out
    assert result.err.startswith("error: ")
    assert not Path("mark").exists()
    assert "payload" not in sys.modules


def test_a_training_that_starts_from_weights_alone_writes_where_the_user_says(mark: Path) -> None:
    Path("table.csv").write_text("a,b\n" + "1,0\n2,1\n" * 30)
    options = {"batch_size": 8, "path": "table.csv", "target": "b", "cache": "yes"}
    settings = {f"data.{name}": value for name, value in options.items()}
    run = zoo.fit("tabular_mlp", inspect="none", max_epochs=1, settings=settings)
    theirs = {"cache_dir": "theirs"}
    change_card(run.folder, lambda c: c["recipe"]["data"]["init_args"].update(theirs))
    assert choose_recipe(weights=str(run.folder)).data["init_args"].keys() & theirs.keys() == set()


def test_a_cards_name_leads_nowhere(xor_run: Path, run_cli: Run) -> None:
    change_card(xor_run, lambda card: card.update(name="../../outside"))
    result = run_cli("evaluate", xor_run)
    assert result.status == 2
    assert "'../../outside'" in result.err


def test_trusted_data_of_a_card_are_made(mark: Path, run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "my_gates.py").write_text(
        "from datamodules import LogicGate\nclass Gates(LogicGate):\n    pass\n"
    )
    (tmp_path / "own.yaml").write_text(
        "model: {class_path: zoo.architectures.FeedForward}\ndata: {class_path: my_gates.Gates}\n"
    )
    assert run_cli("fit", "--model", "own.yaml", *QUICK).status == 0
    result = run_cli("evaluate", "runs/own/version_0")
    assert result.status == 2
    assert "--trust my_gates.Gates" in result.err
    trusted = ("--trust", "my_gates.Gates")
    assert run_cli("evaluate", "runs/own/version_0", *trusted).status == 0
    assert run_cli("evaluate", "runs/own/version_0").status == 2, "trust lasts for one command"


def test_a_card_does_not_say_where_to_write_or_clear_up(mark: Path) -> None:
    from zoo.cards import Card
    from zoo.evaluation import data_of

    Path("table.csv").write_text("a,b\n" + "1,0\n2,1\n" * 30)
    options = {"path": "table.csv", "target": "b", "cache": "yes", "cache_dir": "theirs"}
    recipe = {"data": {"class_path": "datamodules.Tabular", "init_args": options}}
    data_of(Card("x", "", 0, 0, [1], [], recipe=recipe)).setup()
    assert not Path("theirs").exists()
