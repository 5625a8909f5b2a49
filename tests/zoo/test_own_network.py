"""A network of the user's own, as the README shows it: the README's text is what is run here."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import zoo
from zoo import UserError

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write the README's files into the test's folder; return the commands that it shows."""
    monkeypatch.delitem(sys.modules, "my_network", raising=False)
    text = README.read_text("utf-8")
    section = text.partition("<!-- own-network -->")[2].partition("<!-- /own-network -->")[0]
    assert 0 < section.count("\n") < 40
    commands = []
    for language, block in re.findall(r"```(\w*)\n(.*?)```", section, re.DOTALL):
        if language:  # a file, whose name its first line says
            name = block.partition("\n")[0].removeprefix("# ")
            assert re.fullmatch(r"my_\w+\.(py|yaml)", name)
            (tmp_path / name).write_text(block)
        else:
            commands += block.strip().splitlines()
    return commands


def test_its_commands_train_it(own_network: list[str], run_cli: Callable) -> None:
    assert own_network
    for command in own_network:
        python, script, *arguments = shlex.split(command)
        assert (python, script) == ("python", "scripts/fit.py")
        assert arguments[:2] == ["--model", "./my_recipe.yaml"]
        short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "5"]
        if "mnist" in command:
            short += ["--data.source", "synthetic"]
        result = run_cli("fit", *arguments, *short)
        assert result.status == 0, result.err
        assert result.out.startswith("my_recipe on ")


def test_it_works_in_python_like_a_built_in_name(own_network: list[str], run_cli: Callable) -> None:
    torch.manual_seed(0)
    data = zoo.create_datamodule("./my_recipe.yaml")
    model = zoo.create_model("./my_recipe.yaml", datamodule=data)
    assert type(model).__module__ == "my_network"
    x, y = data.splits["train"][0][:32], data.splits["train"][1][:32]
    assert model(x).shape == (32, data.num_outputs)

    three = zoo.create_model("./my_recipe.yaml", num_classes=3)
    assert three(x).shape == (32, 3)
    three.freeze_backbone()
    assert all(not name.startswith("head") for name in three.frozen)

    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(200):
        loss = model.loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_it_starts_from_weights_that_are_named(own_network: list[str], run_cli: Callable) -> None:
    result = run_cli("fit", "--model", "./my_recipe.yaml", "--pretrained")
    assert result.status == 2
    assert "ships no weights for 'my_recipe'" in result.err
    assert "--weights" in result.err
    short = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 5)
    assert run_cli("fit", "--model", "./my_recipe.yaml", *short).status == 0
    run = "runs/my_recipe/version_0"
    # The recipe is the user's, and names the class that the weights are of.
    result = run_cli("fit", "--model", "./my_recipe.yaml", "--weights", run, *short)
    assert result.status == 0, result.err
    assert f"weights of {run}: backbone and head" in result.out


def test_its_run_is_evaluated_and_repeated(own_network: list[str], run_cli: Callable) -> None:
    short = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 5)
    assert run_cli("fit", "--model", "./my_recipe.yaml", *short).status == 0
    run = "runs/my_recipe/version_0"
    with pytest.raises(UserError, match=r'trust=\["my_network.Narrowing"\] in Python'):
        zoo.load_weights(run)
    loaded = zoo.load_weights(run, trust=["my_network.Narrowing"])
    assert type(loaded).__module__ == "my_network"
    result = run_cli("evaluate", run)
    assert result.status == 2
    assert "--trust my_network.Narrowing" in result.err
    result = run_cli("evaluate", run, "--trust", "my_network.Narrowing")
    assert result.status == 0, result.err
    rows = dict(line.split(maxsplit=1) for line in result.out.splitlines() if line)
    assert rows["measured"].split() == rows["card"].split()
    repeated = run_cli("fit", "--config", f"{run}/config.yaml")
    assert repeated.status == 0, repeated.err
    assert Path("runs/my_recipe/version_1/card.json").exists()


def test_its_card_shows_the_command_that_trains_it(
    own_network: list[str], run_cli: Callable
) -> None:
    result = run_cli("models", "--model", "./my_recipe.yaml")
    assert "python scripts/fit.py --model ./my_recipe.yaml\n" in result.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("my_network.", "my_netwrok."), "There is no module 'my_netwrok'"),
        ((r"my_network\.\w+", "my_network.Missing"), "There is no class 'Missing' in 'my_network'"),
        (("summary:", "sumary:"), "Did you mean summary?"),
        (("width:", "widht:"), "widht"),
        (("model:", "model: !!"), "cannot be read as YAML"),
    ],
    ids=["module", "class", "key", "argument", "yaml"],
)
def test_a_mistake_in_the_recipe_gets_one_sentence(
    change: tuple[str, str], message: str, own_network: list[str], run_cli: Callable
) -> None:
    path = Path("my_recipe.yaml")
    changed = re.sub(*change, path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    result = run_cli("fit", "--model", "./my_recipe.yaml", "--trainer.fast_dev_run", 1)
    assert result.status == 2
    assert message in result.err
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
