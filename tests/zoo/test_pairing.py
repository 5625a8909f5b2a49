"""Every architecture on every kind of data: it learns, or it is refused with one clear sentence."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from datamodules import TensorDataModule
from zoo.recipe import DATAMODULES

# One recipe for each architecture, and those whose loss or structure was made for one kind of data.
NETWORKS = {
    "fashion_ffnn": {"hidden_dim": 64},
    "mnist_classifier": {},
    "sequential_sigmoid": {},
    "mnist_lt3_ann": {},
    "conv_net": {"channels": [4, 8]},
    "backbone": {"name": "shufflenet_v2_x0_5"},
    "mnist_rnn": {"hidden_dim": 32},
    "mnist_lstm": {"hidden_dim": 32},
    "mnist_lstm_cell": {"hidden_dim": 32},
    "sentiment_bilstm": {"hidden_dim": 32},
    "tabular_net": {"hidden_dim": 32},
    "tabular_ensemble": {"hidden_dim": 32, "members": 4},
}
DATA: dict[str, dict[str, Any]] = {
    "mnist": {"source": "synthetic"},
    "fashion_mnist": {"source": "synthetic"},
    "xor": {},
    "fizzbuzz": {},
    "blobs": {"num_features": 12, "num_outputs": 3},
    "csv": {"target": "kind"},
    "text": {"max_length": 12},
}
IMAGES, TEXT = {"mnist", "fashion_mnist"}, {"text"}
SEQUENCES = IMAGES | TEXT
NUMBERS = {"xor", "fizzbuzz", "blobs", "csv"}
READS = {
    **dict.fromkeys(("tabular_net", "tabular_ensemble"), NUMBERS),
    "conv_net": IMAGES,
    "backbone": IMAGES,
    **dict.fromkeys(("mnist_rnn", "mnist_lstm", "mnist_lstm_cell", "sentiment_bilstm"), SEQUENCES),
}


@functools.cache
def data_for(name: str, folder: Path) -> TensorDataModule:
    if name == "csv":
        return zoo.create_datamodule(name, path=str(write_table(folder)), **DATA[name])
    return zoo.create_datamodule(name, **DATA[name])


def write_table(folder: Path) -> Path:
    """Write a table of numbers with gaps, words, and a target of three kinds."""
    random = np.random.default_rng(0)
    kinds = random.integers(0, 3, 300)
    rows = ["weight,length,colour,kind"]
    for i, kind in enumerate(kinds):
        weight = "" if i % 7 == 0 else f"{random.normal(kind, 0.3):.3f}"
        colour = ("red", "green", "blue")[kind if random.random() < 0.9 else 0]
        rows.append(f"{weight},{random.normal(-kind, 0.3):.3f},{colour},{'abc'[kind]}")
    path = folder / "table.csv"
    path.write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairing")


@pytest.mark.parametrize("data_name", DATA)
@pytest.mark.parametrize("name", NETWORKS)
def test_it_learns_or_is_refused(name: str, data_name: str, folder: Path) -> None:
    datamodule = data_for(data_name, folder)
    torch.manual_seed(0)
    arguments = {**NETWORKS[name], **{"dropout": 0.0} | extra_dropout(name)}
    if data_name not in READS.get(name, DATA):
        with pytest.raises(zoo.UserError) as refusal:
            zoo.create_model(name, datamodule=datamodule, **arguments)
        sentence = str(refusal.value)
        kind = "images" if READS[name] == IMAGES else "sequences"
        kind = "tables, or vectors of numbers" if name.startswith("tabular") else kind
        assert f" reads {kind}" in sentence
        assert "\n" not in sentence
        return
    model = zoo.create_model(name, datamodule=datamodule, **arguments)
    assert tuple(model.spec.input_shape) == datamodule.input_shape
    assert model.spec.num_outputs == datamodule.num_outputs
    assert model.class_names == datamodule.class_names

    x, y = repeated(datamodule.splits["train"])
    spread = torch.linspace(0, len(x) - 1, 8).long()  # rows may lie class by class
    x, y = x[spread], y[spread]
    usual = torch.bincount(y.long()).max().item() / len(y)  # chance: always the usual class
    losses, right = learn(model, x, y)
    assert losses[-1] < losses[0]
    assert right > usual


def extra_dropout(name: str) -> dict[str, float]:
    return {"output_dropout": 0.0} if name == "mnist_lt3_ann" else {}


def repeated(split: tuple) -> tuple:
    """Return at least eight examples: XOR has four."""
    x, y = split
    if len(x) < 8:
        return x.repeat(2, *[1] * (x.ndim - 1)), y.repeat(2)
    return x, y


def learn(model: zoo.ZooModule, x: torch.Tensor, y: torch.Tensor) -> tuple[list[float], float]:
    """Train on one batch; return the losses and the share of right answers."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for step in range(200):
        loss = model.training_step((x, y), step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 10 == 9:
            with torch.no_grad():
                right = int(model.task.correct(model.eval()(x), y).sum()) / len(x)
            model.train()
            if right == 1.0:
                break
    return losses, right


# Through the front end


@pytest.mark.parametrize(
    ("name", "data_name"),
    [("fashion_ffnn", "xor"), ("fashion_ffnn", "csv"), ("sentiment_bilstm", "mnist"),
     ("conv_net", "fashion_mnist"), ("xor_mlp", "text"), ("mnist_lt3_ann", "blobs")],
)  # fmt: skip
def test_data_by_name_on_the_command_line(
    name: str, data_name: str, folder: Path, run_cli: Callable
) -> None:
    arguments = [f"--data.{option}={value}" for option, value in DATA[data_name].items()]
    if data_name == "csv":
        arguments.append(f"--data.path={write_table(folder)}")
    result = run_cli(
        "fit", "--model", name, "--data", data_name, *arguments, "--trainer.max_epochs", 1,
        "--trainer.limit_train_batches", 2,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert re.search(r"^test.* \d\.\d{4}", result.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "data_name", "sentence"),
    [
        ("conv_net", "xor", "ConvNet reads images (channels, height, width), but these data have "
                            "the shape (2,)."),
        ("mnist_lstm", "blobs", "Recurrent reads sequences: images row by row, or text. "
                                    "These data are single vectors of 10."),
    ],
)  # fmt: skip
def test_a_refusal_is_one_sentence_and_leaves_nothing_behind(
    name: str, data_name: str, sentence: str, run_cli: Callable
) -> None:
    result = run_cli("fit", "--model", name, "--data", data_name)
    assert (result.status, result.err) == (2, f"error: {sentence}\n")
    assert not Path("runs").exists()


def test_a_recipes_loss_gives_way_to_other_data(run_cli: Callable) -> None:
    """NLL is no loss of a binary task or a regression; one that the user asks for is refused."""
    short = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2)
    regression = ("--data", "blobs", "--data.task", "regression")
    for name in ("fashion_ffnn", "sigmoid_neuron"):
        result = run_cli("fit", "--model", name, *regression, *short)
        assert result.status == 0, result.err
        assert "the default one is taken" in result.out
    asked = run_cli("fit", "--model", "fashion_ffnn", *regression, "--learning.loss", "kl_div")
    assert asked.status == 2
    assert "--learning.loss kl_div does not fit a regression task" in asked.err


class ArrayFolder(TensorDataModule):
    """Data that cannot be made without being told where they are."""

    def __init__(self, path: str) -> None:
        super().__init__()


def test_models_lists_what_a_network_reads_of_what_can_be_tried(
    run_cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATAMODULES, "arrays", f"{__name__}.ArrayFolder")
    result = run_cli("models", "--model", "mnist_rnn")
    assert result.status == 0, result.err
    (line,) = (line for line in result.out.splitlines() if line.startswith("pairs with"))
    assert set(line.removeprefix("pairs with").replace(",", " ").split()) == SEQUENCES


def test_the_readme_shows_this_table() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    header = next(line for line in text.splitlines() if line.startswith("| | mnist |"))
    assert [cell.strip() for cell in header.split("|")[2:-1]] == list(DATA)
    rows = {"FeedForward": "fashion_ffnn", "ConvNet": "conv_net", "Recurrent": "mnist_lstm",
            "LSTMCellNet": "mnist_lstm_cell"}  # fmt: skip
    for architecture, name in rows.items():
        row = next(
            line for line in text.splitlines() if re.match(rf"\| [^|]*`{architecture}`", line)
        )
        shown = [cell.strip().startswith("yes") for cell in row.split("|")[2:-1]]
        assert shown == [data in READS.get(name, DATA) for data in DATA]
