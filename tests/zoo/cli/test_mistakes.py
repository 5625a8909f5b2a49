"""Wrong input: one sentence that names it, exit status 2, and never a traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import datasets

Run = Callable[..., Any]

# Five updates on drawn images: a second or less.
QUICK = (
    *("--data.source", "synthetic", "--inspect", "none"),
    *("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 5),
)
FASHION = ("--model", "fashion_ffnn", *QUICK)


def words(value: object) -> str:
    """Name a test by its command line."""
    return " ".join(map(str, value)) if isinstance(value, list) else ""


def recipe(network: str) -> str:
    """Return the text of a recipe for a network."""
    return f"{{model: {{class_path: {network}}}, data: {{class_path: datamodules.MNIST}}}}"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--model", "fashion_fnn"], "Did you mean fashion_ffnn"),
        (["--model", "xyzzy"], "There is no model 'xyzzy'"),
        (["--model", "none.yaml"], "none.yaml"),
        (["--model"], "--model"),
        (["--model", "xor_mlp", "--overfit", "1", "--lr_find"], "leave --lr_find out"),
        ([], "--model NAME is missing"),
        (["--data", "mnist"], "--model NAME is missing"),
        (["--model", "fashion_ffnn", "--data", "minst"], "Did you mean mnist"),
        (
            ["--model", "fashion_ffnn", "--data", "generated"],
            "--data generated is called --data blobs",
        ),
        (["--model", "fashion_ffnn", "--config", "none.yaml"], "none.yaml"),
        (["--model", "tabular_mlp", "--data.group", "plan", "--data.time", "since"], "not both"),
        (["--model", "fashion_ffnn", "--model.hiden_dim", "3"], "--model.hidden_dim"),
        (["--model", "fashion_ffnn", "--data.bath_size", "3"], "--data.batch_size"),
        (["--model", "fashion_ffnn", "--trainer.max_epoch", "3"], "--trainer.max_epochs"),
        (["--model", "fashion_ffnn", "--modle.hidden_dim", "3"], "--model.hidden_dim"),
        (["--model", "fashion_ffnn", "extra"], "extra"),
        (["--model", "fashion_ffnn", "--lr", "abc"], "--optimizer.lr takes float, not abc"),
        (["--model", "fashion_ffnn", "--name", ""], "cannot be ''"),
        (["--modle", "fashion_ffnn"], "Did you mean --model"),
        (["--model", "fashion_ffnn", "--model.hidden_dim", "abc"], "--model.hidden_dim"),
        (["--model", "fashion_ffnn", "--model.hidden_dim", "-3"], "--model.hidden_dim"),
        (["--model", "fashion_ffnn", "--model.hidden_dim", "0"], "--model.hidden_dim"),
        (["--model", "fashion_ffnn", "--model.num_hidden", "-1"], "--model.num_hidden"),
        (["--model", "fashion_ffnn", "--model.dropout", "1.5"], "dropout"),
        (["--model", "fashion_ffnn", "--model.dropout", "-0.5"], "dropout"),
        (["--model", "fashion_ffnn", "--model.output_dropout", ".nan"], "output_dropout"),
        (["--model", "fashion_ffnn", "--model.activation", "rleu"], "relu"),
        (["--model", "fashion_ffnn", "--learning.loss", "mes"], "mse"),
        (["--model", "fashion_ffnn", "--data.batch_size", "0"], "--data.batch_size"),
        (["--model", "fashion_ffnn", "--data.batch_size", "-64"], "--data.batch_size"),
        (["--model", "fashion_ffnn", "--data.batch_size", "many"], "--data.batch_size"),
        (["--model", "fashion_ffnn", "--data.source", "reel"], "real"),
        (["--model", "fashion_ffnn", "--data.val_size", "20000"], "--data.val_size"),
        (["--model", "fashion_ffnn", "--trainer.max_epochs", "three"], "--trainer.max_epochs"),
        (["--model", "fashion_ffnn", "--trainer.max_epochs", "-7"], "max_epochs"),
        (["--model", "fashion_ffnn", "--trainer.precision", "7"], "precision"),
        (["--model", "fashion_ffnn", "--trainer.accelerator", "quantum"], "accelerator"),
        (["--model", "fashion_ffnn", "--trainer.devices", "-3"], "devices"),
        (["--model", "fashion_ffnn", "--trainer.limit_train_batches", "-5"], "limit_train_batches"),
        (["--model", "fashion_ffnn", "--trainer.val_check_interval", "-5"], "val_check_interval"),
        (["--model", "fashion_ffnn", "--seed", "x"], "seed"),
        (["--model", "fashion_ffnn", "--seed", "-1"], "seed"),
        (["--model", "fashion_ffnn", "--lr", "fast"], "--optimizer.lr"),
        (["--model", "fashion_ffnn", "--lr", "-0.1"], "learning rate: -0.1"),
        (
            [
                "--model",
                "fashion_ffnn",
                "--trainer.callbacks+=EarlyStopping",
                "--trainer.callbacks.monitor=loss/vall",
                "--trainer.val_check_interval",
                "2",
            ],
            "loss/vall",
        ),
        (["--model", "fashion_ffnn", "--optimizer", "Adma"], "Adam"),
        (["--model", "fashion_ffnn", "--optimizer.momentun", "0.5"], "momentum"),
        (["--model", "fashion_ffnn", "--lr_scheduler", "StepRL"], "StepLR"),
        (["--model", "fashion_ffnn", "--lr_scheduler", "StepLR"], "step_size"),
        (["--model", "fashion_ffnn", "--ckpt_path", "none.ckpt"], "none.ckpt"),
        (["--model", "fashion_ffnn", "--ckpt_path", "garbage.ckpt"], "garbage.ckpt"),
        (["--model", "fashion_ffnn", "--ckpt_path", "other.ckpt"], "other.ckpt"),
        (["--model", "fashion_ffnn", "--config", "garbage.ckpt"], "garbage.ckpt"),
        (["--model", "fashion_ffnn", "--config", "unknown.yaml"], "trainor"),
        (["--model", "fashion_ffnn", "--config", "misspelt.yaml"], "hidden_dim"),
        (["--model", "fashion_ffnn", "--config", "list.yaml"], "list.yaml"),
        (["--model", "fashion_ffnn", "--inspect", "fully"], "full"),
        (["--model", "fashion_ffnn", "--freeze", "backbonne"], "backbonne"),
        (["--model", "fashion_ffnn", "--unfreeze_at_epoch", "2"], "unfreeze"),
        (["--model", "fashion_ffnn", "--trainer.default_root_dir", "list.yaml"], "list.yaml"),
        (["--model", "fashion_ffnn", "--trainer.callbacks+=EarlyStoping"], "EarlyStopping"),
        (
            ["--model", "fashion_ffnn", "--trainer.logger", "MLFlowLogger"],
            "MLFlowLogger needs mlflow>=1.0.0: pip install 'mlflow>=1.0.0'.",
        ),
        (["--model", "fashion_ffnn", "--trainer.logger", "CSVLoger"], "Did you mean CSVLogger"),
        (
            [
                "--model",
                "fashion_ffnn",
                "--trainer.callbacks+=EarlyStopping",
                "--trainer.callbacks.monitor=loss/val",
                "--trainer.callbacks.mode=least",
            ],
            "EarlyStopping cannot be made: `mode` can be min, max, got least",
        ),
        (["--model", "no_class.yaml"], "Missing"),
        (["--model", "no_module.yaml"], "no_such_module"),
        (["--model", "no_dot.yaml"], "Mine"),
        (["--model", "no_data.yaml"], "data"),
    ],
    ids=words,
)
def test_a_mistake_is_named(run_cli: Run, tmp_path: Path, argv: list[str], says: str) -> None:
    files = {
        "garbage.ckpt": "\x00\x01 not a checkpoint",
        "unknown.yaml": "trainor: {max_epochs: 3}",
        "misspelt.yaml": "model: {hiden_dim: 3}",
        "list.yaml": "- 1",
        "no_class.yaml": recipe("zoo.architectures.Missing"),
        "no_module.yaml": recipe("no_such_module.Mine"),
        "no_dot.yaml": recipe("Mine"),
        "no_data.yaml": "{model: {class_path: zoo.architectures.FeedForward}}",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    torch.save({"epoch": 3}, tmp_path / "other.ckpt")
    quick = QUICK if len(argv) > 1 and argv[0] == "--model" else ()
    result = run_cli("fit", *argv[:2], *quick, *argv[2:])
    assert result.status == 2, result.out + result.err
    # The warning on drawn data may come before it.
    message = result.err.rpartition("error: ")[2].strip()
    assert says in message
    assert "Traceback" not in result.err
    assert len(message.splitlines()) == 1
    assert len(message) < 600


@pytest.mark.parametrize(
    "argv", [("nonsense",), ("evaluate", "none"), ("evaluate", "runs"), ("models", "--model", "x")]
)
def test_a_mistake_in_another_command_is_named(run_cli: Run, argv: tuple[str, ...]) -> None:
    result = run_cli(*argv)
    assert result.status == 2
    assert result.err.startswith("error: ")


@pytest.mark.parametrize("how", ["file", "empty", "damaged"])
def test_wrong_data_folders_are_named(run_cli: Run, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "images"
    if how == "file":
        folder.touch()
    else:
        folder.mkdir()
    if how == "damaged":
        for name in (
            "train-images-idx3",
            "train-labels-idx1",
            "t10k-images-idx3",
            "t10k-labels-idx1",
        ):
            (folder / f"{name}-ubyte.gz").write_bytes(b"half")
    source = ["--data.source", "real"] if how == "empty" else ["--data.source", "auto"]
    result = run_cli("fit", *FASHION, *source, "--data.data_dir", folder)
    assert result.status == 2
    assert str(folder) in result.err
    assert not Path("runs").exists()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    for name in ("MNIST", "FashionMNIST"):
        monkeypatch.setattr(datasets, name, fail)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("how", ["option", "variable", "config"])
def test_a_folder_without_the_images_trains_on_no_others(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    argv: list[object] = ["--model", "fashion_ffnn", "--trainer.max_steps", 1]
    if how == "option":
        argv += ["--data.data_dir", "elsewhere"]
    elif how == "variable":
        monkeypatch.setenv("ZOO_DATA_DIR", "elsewhere")
    else:
        (tmp_path / "mine.yaml").write_text("data: {data_dir: elsewhere}")
        argv += ["--config", "mine.yaml"]
    result = run_cli("fit", *argv)
    assert result.status == 2
    assert "error: FashionMNIST is not in 'elsewhere'" in result.err
    assert not Path("runs").exists()


@pytest.mark.usefixtures("no_network")
def test_a_run_on_drawn_images_is_not_evaluated_on_them_where_a_folder_is_named(
    run_cli: Run,
) -> None:
    assert run_cli("fit", *FASHION).status == 0
    (run,) = Path("runs").glob("*/version_*")
    assert run_cli("evaluate", run).status == 0
    for folder in ("elsewhere", ""):
        result = run_cli("evaluate", run, "--data_dir", folder)
        assert result.status == 2
        assert ("is not in 'elsewhere'" if folder else "is empty") in result.err


def test_what_only_the_first_step_brings_up_is_one_sentence_too(run_cli) -> None:
    options = ["--data.source", "synthetic", "--data.batch_size", "1", "--inspect", "none"]
    result = run_cli("fit", "--model", "mnist_classifier", *options)

    assert result.status == 2
    assert "more than 1 value per channel" in result.err


def test_a_pattern_that_matches_nothing_is_told(run_cli) -> None:
    result = run_cli("models", "*zzz*")

    assert result.status == 2
    assert "*zzz*" in result.err


def test_data_that_come_from_no_folder_take_none(run_cli) -> None:
    result = run_cli("evaluate", "fizzbuzz_net", "--data_dir", "elsewhere")

    assert result.status == 2
    assert "leave --data_dir out" in result.err


def test_a_precision_that_would_round_a_table_is_refused(run_cli: Run, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,b\n" + "".join(f"{i},{i % 2}\n" for i in range(20)))
    file = ("--data.path", table, "--data.target", "b", "--trainer.max_epochs", 1)
    refused = run_cli("fit", "--model", "tabular_mlp", *file, "--trainer.precision", "bf16-true")
    assert (refused.status, Path("runs").exists()) == (2, False)
    assert "bf16-mixed" in refused.err
    mixed = run_cli("fit", "--model", "tabular_mlp", *file, "--trainer.precision", "bf16-mixed")
    assert mixed.status == 0, mixed.err
