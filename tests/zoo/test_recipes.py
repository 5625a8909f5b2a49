"""Every recipe against the code, and the documented ones against their documents."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from quick import data_of

import zoo
from datamodules import Tabular, TensorDataModule, TextCSV
from zoo.loading.classes import class_at
from zoo.recipe import RECIPES, Recipe, find_recipe, read_yaml

NAMES = zoo.list_models()
DOCUMENTED = [name for name in NAMES if "." not in name]
every_recipe = pytest.mark.parametrize("name", NAMES)

#: The networks that the documents describe, by document.
NETWORKS = {
    "000": "sigmoid_neuron mnist_lt3_ann mnist_classifier",
    "001": "linear_regressor relu_mlp sigmoid_mlp fnn",
    "002": "linear_stack binary_mlp multiclass_mlp regression_mlp softmax_mlp two_layer_regressor "
    "tiny_mlp water_potability dropout_mlp transfer_mlp",
    "003": "logistic_regression xor_mlp mnist_net conv_net fashion_ffnn mnist_rnn mnist_lstm "
    "mnist_bilstm mnist_lstm_cell sentiment_bilstm",
    "004": "fizzbuzz_net sequential_sigmoid",
}

SGD, ADAM = "SGD", "Adam"
#: Optimizer, its arguments, batch size, epochs, and the outputs of each layer: what the documents
#: say, as far as they say it. None: the document leaves it open, and the recipe's note says so.
HYPERPARAMETERS: dict[str, tuple[str | None, dict[str, float] | None, int | None, int | None]] = {
    "mnist_lt3_ann": (SGD, {"lr": 0.005, "momentum": 0.9}, 1, None),
    "mnist_classifier": (ADAM, {"lr": 0.001, "weight_decay": 1e-8}, None, None),
    "sigmoid_neuron": (SGD, None, 1, None),
    "linear_regressor": (SGD, {"lr": 0.1}, 1, 10),
    "two_layer_regressor": (SGD, {"lr": 0.001}, 4, 5),
    "softmax_mlp": (SGD, {"lr": 0.001, "momentum": 0.9}, None, None),
    "tiny_mlp": (SGD, {"lr": 0.01, "momentum": 0.9}, None, None),
    "water_potability": (SGD, None, 2, None),
    "dropout_mlp": (SGD, {"lr": 0.001, "momentum": 0.9, "weight_decay": 1e-4}, None, None),
    "logistic_regression": (SGD, {"lr": 0.001}, 1, 2001),
    "fashion_ffnn": (SGD, {"lr": 0.1, "momentum": 0.9}, 64, 10),
    "fizzbuzz_net": (SGD, None, None, None),
}
WIDTHS = {
    "sigmoid_neuron": [2, 1],
    "mnist_lt3_ann": [784, 30, 1],
    "mnist_classifier": [784, 50, 20, 10],
    "linear_regressor": [4, 2],
    "relu_mlp": [3, 20, 2],
    "sigmoid_mlp": [2, 3, 2],
    "fnn": [10, 128, 64, 2],
    "linear_stack": [10, 18, 20, 5],
    "binary_mlp": [6, 4, 1],
    "multiclass_mlp": [6, 4, 3],
    "regression_mlp": [6, 4, 1],
    "softmax_mlp": [16, 8, 4, 2],
    "two_layer_regressor": [4, 2, 1],
    "tiny_mlp": [8, 4, 2],
    "water_potability": [4, 2, 1],
    "transfer_mlp": [16, 32, 64],
    "logistic_regression": [2, 1],
    "mnist_net": [784, 200, 200, 10],
    "mnist_net.fast": [784, 200, 200, 10],
    "fashion_ffnn": [784, 512, 512, 10],
    "fashion_ffnn.fast": [784, 512, 512, 10],
    "fizzbuzz_net": [10, 100, 4],
}
DROPOUT = {"mnist_lt3_ann": 0.3, "dropout_mlp": 0.2, "fashion_ffnn": 0.2}
LOSS = {
    "sigmoid_neuron": "mse",
    "mnist_lt3_ann": "bce_with_logits",
    "linear_regressor": "mse",
    "two_layer_regressor": "mse",
    "logistic_regression": "bce",
    "mnist_net": "nll",
    "mnist_net.fast": "nll",
    "fashion_ffnn": "nll",
    "fashion_ffnn.fast": "nll",
    "fizzbuzz_net": "mse",
    "fizzbuzz_net.cross_entropy": "cross_entropy",
}


def test_every_documented_network_is_there() -> None:
    assert {name for names in NETWORKS.values() for name in names.split()} <= set(NAMES)


@pytest.mark.parametrize(
    ("document", "name"), [(d, name) for d, names in NETWORKS.items() for name in names.split()]
)
def test_a_recipe_names_its_document_and_section(document: str, name: str) -> None:
    assert re.match(rf"{document}, \S", find_recipe(name).source)


@every_recipe
def test_keys_summary_and_source(name: str) -> None:
    content = read_yaml(RECIPES / f"{name}.yaml")
    assert set(content) <= set(Recipe.__dataclass_fields__) - {"name", "path"}
    recipe = find_recipe(name)
    assert 0 < len(recipe.summary) <= 90
    assert recipe.summary == recipe.summary.strip()
    assert "\n" not in recipe.summary
    assert re.match(r"00[0-4], \S", recipe.source)
    assert recipe.select in ("best", "lowest_loss", "last")


@every_recipe
def test_arguments_exist(name: str) -> None:
    recipe = find_recipe(name)
    checked = [*specs({"model": recipe.model, "data": recipe.data, "trainer": recipe.trainer})]
    checked += [spec for spec in (recipe.optimizer, recipe.lr_scheduler) if spec]
    for spec in checked:
        known = arguments_of(class_at(spec["class_path"]))
        assert set(spec.get("init_args", {})) <= known, spec["class_path"]
    assert set(recipe.trainer) <= set(inspect.signature(Trainer.__init__).parameters)


def specs(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every `class_path` with its arguments, at any depth."""
    if isinstance(value, dict):
        if "class_path" in value:
            yield value
        for inner in value.values():
            yield from specs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from specs(inner)


def arguments_of(kind: type) -> set[str]:
    """Return a class's arguments, with those that it passes on to the classes it extends."""
    found: set[str] = set()
    for base in kind.__mro__:
        if "__init__" in vars(base):
            parameters = inspect.signature(base.__init__).parameters
            found |= set(parameters)
            if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
                break
    return found - {"self", "kwargs"}


@every_recipe
def test_a_tag_keeps_the_structure(name: str) -> None:
    """`NAME.TAG` is the network of NAME; only conv_net's have a hidden layer, and say so."""
    base, _, tag = name.partition(".")
    if not tag or base == "tabular_mlp":  # which no document has: its widths are the recipe's
        return
    structure, given = find_recipe(base).model, find_recipe(name).model
    assert given["class_path"] == structure["class_path"]
    for argument in ("channels", "kernel_size", "cell", "bidirectional", "num_layers", "norm"):
        ours, theirs = (spec.get("init_args", {}).get(argument) for spec in (given, structure))
        assert ours == theirs, argument
    if "hidden_dim" in structure["init_args"]:
        assert given["init_args"]["hidden_dim"] == structure["init_args"]["hidden_dim"]


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_training_is_as_documented(name: str) -> None:
    recipe = find_recipe(name)
    optimizer, arguments, batch_size, epochs = HYPERPARAMETERS[name]
    assert recipe.optimizer["class_path"] == f"torch.optim.{optimizer}"
    if arguments is not None:
        assert recipe.optimizer["init_args"] == arguments
    if batch_size is not None:
        assert data_of(name).batch_size == batch_size
    if epochs is not None:
        assert recipe.trainer["max_epochs"] == epochs
    assert recipe.lr_scheduler is None
    assert recipe.select == "last"  # the documents keep the weights that they end with
    if None in HYPERPARAMETERS[name]:
        assert recipe.note


@pytest.mark.parametrize("name", WIDTHS)
def test_widths_are_as_documented(name: str) -> None:
    model = zoo.create_model(name, datamodule=data_of(name))
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    assert [layers[0].in_features, *(layer.out_features for layer in layers)] == WIDTHS[name]
    assert model.hparams.get("dropout", 0.0) == DROPOUT.get(name, 0.0)


@pytest.mark.parametrize("name", LOSS)
def test_losses_are_as_documented(name: str) -> None:
    assert find_recipe(name).learning["loss"] == LOSS[name]


def test_the_data_are_as_documented() -> None:
    xor, gate = data_of("logistic_regression"), data_of("sigmoid_neuron")
    assert (xor.gate, xor.replacement) == ("xor", True)
    assert gate.shuffle is False  # "for n in range(len(x))"
    assert data_of("fizzbuzz_net").input_shape == (10,)
    assert len(data_of("two_layer_regressor").splits["train"][0]) == 10
    sample, target = data_of("linear_regressor").splits["train"]
    assert sample.tolist() == [pytest.approx([0.8, 0.4, 0.4, 0.2])]
    assert target.tolist() == [[1.0, 0.0]]
    assert find_recipe("fashion_ffnn").trainer["val_check_interval"] == 500


@every_recipe
def test_a_network_is_made_without_reading_data_that_say_what_they_are(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a table's columns and a text's words are in their files."""
    recipe = find_recipe(name)
    kind = class_at(recipe.data["class_path"])
    if kind in (Tabular, TextCSV):
        pytest.skip("what it is stands in its file")

    def load_splits(self: TensorDataModule) -> None:
        raise AssertionError(f"{name} reads its data")

    expected = data_of(name).splits["train"][1]
    monkeypatch.setattr(kind, "load_splits", load_splits)
    model = zoo.create_model(name)
    if expected.is_floating_point():
        assert model.num_outputs == expected[0].numel()
    else:
        assert model.num_outputs > expected.max()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_fit_works_without_a_network_and_without_warnings(name: str, run_cli: Callable) -> None:
    """`--model NAME --trainer.max_epochs 1`, cut short, on data that need no file."""
    arguments = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 3]
    arguments += ["--trainer.val_check_interval", 1.0, "--trainer.check_val_every_n_epoch", 1]
    data = find_recipe(name).data["class_path"].rpartition(".")[2]
    drawn = data in ("MNIST", "FashionMNIST", "Tabular", "TextCSV")
    if drawn and data != "TextCSV":
        arguments += ["--data.source", "synthetic", "--trainer.limit_test_batches", 1]
    result = run_cli("fit", "--model", name, *arguments)
    assert result.status == 0, result.err
    assert ("SYNTHETIC DATA" in result.err) == drawn
    assert drawn or result.err == ""
    assert "warning:" not in result.err.lower()
    assert re.search(r"^test.* \d\.\d{4}", result.out, re.MULTILINE)


@pytest.mark.parametrize("given", [{"loss": "mse"}, zoo.Learning(loss="mse")])
def test_what_is_changed_of_the_learning_is_a_mapping_or_the_object(given: Any) -> None:
    learning = zoo.create_model("xor_mlp", learning=given).learning
    own = find_recipe("xor_mlp").learning
    expected = {**own, "loss": "mse"}
    assert {key: getattr(learning, key) for key in expected} == expected


def test_every_class_that_recipes_name_is_documented() -> None:
    """`--help` shows these docstrings, one sentence for each argument."""
    for name in NAMES:
        recipe = find_recipe(name)
        for spec in (recipe.model, recipe.data):
            kind = class_at(spec["class_path"])
            text = "\n".join(inspect.getdoc(base) or "" for base in kind.__mro__)
            missing = [a for a in arguments_of(kind) if not re.search(rf"^ +{a}: ", text, re.M)]
            assert missing == [], spec["class_path"]
