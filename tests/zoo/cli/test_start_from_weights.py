"""`fit --pretrained`: weights bring their structure; how it learns is up to recipe and user."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import zoo
from datamodules import FashionMNIST
from zoo import DataSpec, create_model, find_recipe, list_models, load_weights, save_weights
from zoo.architectures import FeedForward
from zoo.cards import read_structure
from zoo.recipe import PRETRAINED
from zoo.transfer import load_backbone

Run = Callable[..., Any]

# Five updates on drawn images: a second or less.
QUICK = (
    *("--data.source", "synthetic", "--inspect", "none"),
    *("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 5),
)
FASHION = ("--model", "fashion_ffnn", "--pretrained")


def settings_of(run_cli: Run, *argv: object) -> dict[str, Any]:
    """Return what `--print_config` prints."""
    result = run_cli("fit", *argv, "--print_config")
    assert result.status == 0, result.err
    return yaml.safe_load(result.out)


def network_of(run_cli: Run, *argv: object) -> dict[str, Any]:
    return settings_of(run_cli, *argv)["model"]["init_args"]


def runs() -> list[Path]:
    return sorted(Path("runs").glob("*/version_*"))


# Whose training it is


@pytest.mark.parametrize("name", ["fashion_ffnn", "conv_net", "fizzbuzz_net", "mnist_classifier"])
def test_a_network_learns_as_its_recipe_says_whichever_weights_it_starts_from(
    run_cli: Run, name: str
) -> None:
    scratch, started = (settings_of(run_cli, "--model", name, *f) for f in ((), ("--pretrained",)))
    for key in ("learning", "optimizer", "lr_scheduler", "trainer"):
        assert started.get(key) == scratch.get(key), key
    dropout = [{k: v for k, v in r["model"]["init_args"].items() if "dropout" in k}
               for r in (scratch, started)]  # fmt: skip
    assert dropout[0] == dropout[1]


def test_no_teacher_comes_along_and_the_loss_stays(run_cli: Run) -> None:
    assert find_recipe("fashion_ffnn.tuned").learning["teacher"]
    assert run_cli("fit", *FASHION, *QUICK).status == 0
    recipe = yaml.safe_load((runs()[0] / "config.yaml").read_text())
    learning = recipe["learning"]
    assert (learning["loss"], learning["teacher"]) == ("nll", None)
    assert recipe["model"]["init_args"]["dropout"] == 0.2
    assert recipe["optimizer"]["class_path"] == "torch.optim.SGD"


def test_the_structure_is_the_weights(run_cli: Run) -> None:
    assert network_of(run_cli, "--model", "conv_net")["hidden_dim"] == 0
    assert network_of(run_cli, "--model", "conv_net", "--pretrained")["hidden_dim"] == 256


@pytest.mark.parametrize("name", list_models(pretrained=True))
def test_weights_and_their_recipe_agree_on_the_structure(name: str) -> None:
    in_file = read_structure(PRETRAINED / f"{name}.safetensors")
    recipe = find_recipe(name).model
    assert recipe["class_path"] == in_file["class_path"]
    assert recipe["init_args"].items() <= in_file["init_args"].items()


def test_python_learns_as_the_named_recipe_too() -> None:
    model = create_model("fizzbuzz_net", pretrained=True)
    recipe = find_recipe("fizzbuzz_net")
    assert model.learning.loss == recipe.learning["loss"] == "mse"
    assert model.learning.optimizer == recipe.optimizer
    assert create_model("conv_net", pretrained=True).hparams["dropout"] == 0.0


# What the user says


def test_a_configs_network_settings_are_kept(run_cli: Run) -> None:
    Path("mine.yaml").write_text(
        "{model: {dropout: 0.3, hidden_dim: 512}, "
        "learning: {loss: cross_entropy, label_smoothing: 0.1, l2_penalty: 0.5}}"
    )
    settings = settings_of(run_cli, *FASHION, "--config", "mine.yaml")
    asked = {"loss": "cross_entropy", "label_smoothing": 0.1, "l2_penalty": 0.5}
    assert asked.items() <= settings["learning"].items()
    assert settings["model"]["init_args"]["dropout"] == 0.3


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("hidden_dim: 16", "hidden_dim 512, not 16"),
        ("activation: tanh", "activation relu, not tanh"),  # no tensor's shape would tell
        ("norm: batch", "norm none, not batch"),
    ],
)
@pytest.mark.parametrize("where", ["config", "recipe", "option"])
def test_a_structure_that_contradicts_the_weights_is_refused(
    run_cli: Run, said: str, expected: str, where: str
) -> None:
    name, _, value = said.partition(": ")
    argv: list[object] = [*FASHION, f"--model.{name}", value]
    if where == "config":
        Path("mine.yaml").write_text(f"model: {{{said}}}")
        argv = [*FASHION, "--config", "mine.yaml"]
    elif where == "recipe":  # a file of the user's that has the zoo's name
        content = yaml.safe_load(find_recipe("fashion_ffnn").path.read_text())
        content["model"]["init_args"] |= {name: value if name != "hidden_dim" else 16}
        Path("fashion_ffnn.yaml").write_text(yaml.safe_dump(content))
        argv = ["--model", "fashion_ffnn.yaml", "--pretrained"]
    result = run_cli("fit", *argv, *QUICK)
    assert result.status == 2
    assert expected in result.err
    assert result.err.strip().splitlines()[-1].startswith("error: The weights 'fashion_ffnn.tuned'")
    assert not runs()


def test_weights_of_another_class_are_refused(run_cli: Run) -> None:
    Path("mine.yaml").write_text("model: {class_path: zoo.architectures.ConvNet}")
    result = run_cli("fit", *FASHION, "--config", "mine.yaml", *QUICK)
    assert result.status == 2
    assert "of a FeedForward, not of a ConvNet" in result.err


def test_in_python_too_an_argument_that_makes_another_network_is_refused() -> None:
    with pytest.raises(zoo.UserError, match="activation relu, not tanh"):
        create_model("mnist_net", pretrained=True, activation="tanh")
    with pytest.raises(zoo.UserError, match="activation relu, not tanh"):
        load_weights("mnist_net.tuned", activation="tanh")
    same = create_model("mnist_net", pretrained=True, activation="relu")
    with_dropout = create_model("mnist_net", pretrained=True, dropout=0.5)
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(with_dropout(x), same(x))


def test_dropout_can_be_switched_off(run_cli: Run) -> None:
    result = run_cli("fit", *FASHION, "--model.dropout", 0, *QUICK, "--lr", 0)
    assert result.status == 0, result.err
    x = torch.randint(256, (4, 1, 28, 28), dtype=torch.uint8)
    trained, shipped = load_weights(runs()[0]), load_weights("fashion_ffnn.tuned")
    torch.testing.assert_close(trained(x), shipped(x))


# What a run remembers


@pytest.mark.parametrize(
    "argv",
    [
        ("--model", "fashion_ffnn", *QUICK),
        ("--model", "conv_net", "--data", "fashion_mnist", "--freeze", "backbone", *QUICK),
        ("--model", "fizzbuzz_net", "--trainer.max_epochs", 2, "--inspect", "none"),
    ],
    ids=["same classes", "new head", "no images"],
)
def test_a_runs_settings_repeat_it_bit_for_bit(run_cli: Run, argv: tuple[object, ...]) -> None:
    assert run_cli("fit", *argv, "--pretrained").status == 0
    (first,) = runs()
    again = run_cli("fit", "--config", first / "config.yaml", "--inspect", "none")
    assert again.status == 0, again.err
    assert "weights of" in again.out.splitlines()[0]
    first, second = runs()
    for file in ("weights.safetensors", "config.yaml"):
        assert (second / file).read_bytes() == (first / file).read_bytes(), file
    assert run_cli("fit", *argv).status == 0
    scratch = runs()[-1]
    assert (scratch / "weights.safetensors").read_bytes() != (
        first / "weights.safetensors"
    ).read_bytes()


def test_config_and_card_name_the_weights_that_the_run_started_from(run_cli: Run) -> None:
    for options in (("--pretrained",), ()):
        assert run_cli("fit", "--model", "fashion_ffnn", *options, *QUICK).status == 0
    started, scratch = (json.loads((run / "card.json").read_text()) for run in runs())
    start = {"source": "fashion_ffnn.tuned", "sha256": zoo.model_card("fashion_ffnn.tuned").sha256}
    assert started["weights"] == started["recipe"]["weights"] == start
    assert yaml.safe_load((runs()[0] / "config.yaml").read_text())["weights"] == start
    assert scratch["weights"] == {}
    assert "weights" not in scratch["recipe"]


def test_other_weights_by_the_same_name_do_not_repeat_a_run(run_cli: Run) -> None:
    Path("mine.yaml").write_text(f"weights: {{source: fashion_ffnn.tuned, sha256: {'ab' * 32}}}")
    result = run_cli("fit", "--model", "fashion_ffnn", "--config", "mine.yaml", *QUICK)
    assert result.status == 2
    assert "fashion_ffnn.tuned with the sha256 abababababab..." in result.err
    assert not runs()


@pytest.mark.parametrize("start", ["../secret", "nothing_like_it", "[1]", "{sha256: ab}"])
def test_a_start_that_is_none_is_named(run_cli: Run, start: str) -> None:
    Path("mine.yaml").write_text(f"weights: {start}")
    result = run_cli("fit", "--model", "fashion_ffnn", "--config", "mine.yaml", *QUICK)
    assert result.status == 2
    assert start.strip("./") in result.err or "`weights:`" in result.err
    assert not runs()


def test_a_config_may_name_other_weights_or_none(run_cli: Run) -> None:
    Path("documented.yaml").write_text("weights: fashion_ffnn.documented")
    named = run_cli("fit", *FASHION, "--config", "documented.yaml", *QUICK)
    assert "weights of fashion_ffnn.documented: backbone and head" in named.out
    Path("none.yaml").write_text("weights: null")
    none = run_cli("fit", "--config", runs()[0] / "config.yaml", "--config", "none.yaml", *QUICK)
    assert none.status == 0
    assert not none.out.startswith("weights of")


def test_a_runs_config_makes_the_started_network_in_python_too(run_cli: Run) -> None:
    assert run_cli("fit", *FASHION, *QUICK).status == 0
    model = create_model(str(runs()[0] / "config.yaml"))
    shipped = load_weights("fashion_ffnn.tuned")
    assert torch.equal(model.backbone[1].weight, shipped.backbone[1].weight)


# What is loaded


def test_weights_of_normalised_images_read_them_as_they_did() -> None:
    """The data at hand may scale pixels otherwise, and say so to the network."""
    data = FashionMNIST(source="synthetic", normalize=False)
    started, _ = load_backbone("fashion_ffnn.tuned", data.spec)
    shipped = load_weights("fashion_ffnn.tuned")
    assert shipped.spec.preprocessing["mean"] != 0
    x = torch.randint(256, (4, 1, 28, 28), dtype=torch.uint8)
    assert torch.equal(started(x), shipped(x))


def regression(mean: float) -> FeedForward:
    described = {"kind": "none", "target": {"mean": [mean], "std": [2.0]}}
    return FeedForward(DataSpec((4,), "regression", 1, None, described), hidden_dim=8).eval()


def test_a_regressions_head_and_units_are_its_own_tables(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_weights(source := regression(5.0), path)
    other, what = load_backbone(path, regression(70.0).spec)
    assert "with a new head" in what
    assert other.target_mean.item() == 70.0
    assert torch.equal(other.backbone[1].weight, source.backbone[1].weight)
    same, _ = load_backbone(path, regression(5.0).spec)
    assert torch.equal(same(torch.ones(1, 4)), source(torch.ones(1, 4)))
