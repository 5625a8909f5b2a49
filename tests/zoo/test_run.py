"""`zoo.fit`: a run from Python is the run of the command, also on data that are in memory."""

import gc
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

import zoo
from datamodules.memory import as_datamodule
from zoo.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")
QUIET = {"inspect": "none", "max_epochs": 2}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def clusters(count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return three clusters of four numbers."""
    random = np.random.default_rng(0)
    y = random.integers(0, 3, count)
    return (3 * np.eye(4)[y] + random.normal(size=(count, 4))).astype("float32"), y


def test_it_gives_what_the_command_gives(run_cli: Callable) -> None:
    arguments = ("--trainer.max_epochs", 2, "--lr", 0.01, "--seed", 3, "--inspect", "none")
    done = run_cli("fit", "--model", "xor_mlp", *arguments)
    assert done.status == 0, done.err
    run = zoo.fit("xor_mlp", max_epochs=2, lr=0.01, seed=3, inspect="none")
    command, here = Path("runs/xor_mlp/version_0"), Path("runs/xor_mlp/version_1")
    assert run.folder == here
    left, right = (sorted(p.name.partition(".")[0] for p in f.iterdir()) for f in (command, here))
    assert left == right
    assert (command / "config.yaml").read_text() == (here / "config.yaml").read_text()
    for name in ("weights.safetensors",):
        assert (command / name).read_bytes() == (here / name).read_bytes()
    assert run.card.metrics == json.loads((here / "card.json").read_text())["metrics"]
    assert run.metrics["loss/test"] == pytest.approx(run.card.metrics["loss/test"], abs=1e-6)
    assert not run.model.training
    assert str(run.folder) in str(run)
    # The command's table is the run's own text.
    ends = [text[text.index("validation ") : text.index("time")] for text in (done.out, str(run))]
    assert ends[0] == ends[1]


def test_settings_of_every_group(run_cli: Callable) -> None:
    run = zoo.fit(
        "fashion_ffnn",
        "xor",
        learning={"loss": "mse", "l2_penalty": 1e-4},
        optimizer="Adam",
        lr=0.02,
        lr_scheduler={
            "class_path": "torch.optim.lr_scheduler.StepLR",
            "init_args": {"step_size": 1},
        },
        settings={"model.hidden_dim": 8, "data.repeats": 4, "data.batch_size": 2},
        inspect="none",
        max_epochs=1,
        limit_val_batches=1,
    )
    assert run.model.head.in_features == 8
    assert (run.model.learning.loss, run.model.learning.l2_penalty) == ("mse", 1e-4)
    written = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert written["optimizer"]["class_path"] == "torch.optim.Adam"
    assert written["optimizer"]["init_args"]["lr"] == 0.02
    assert written["data"]["init_args"]["repeats"] == 4
    assert written["trainer"]["limit_val_batches"] == 1


@pytest.mark.parametrize("kind", ["arrays", "tensors", "dataset", "names"])
def test_data_in_memory(kind: str) -> None:
    x, y = clusters()
    data = {
        "arrays": (x, y),
        "tensors": (torch.as_tensor(x), torch.as_tensor(y)),
        "dataset": TensorDataset(torch.as_tensor(x), torch.as_tensor(y)),
        "names": (x, [("ash", "birch", "oak")[i] for i in y]),
    }[kind]
    run = zoo.fit("mnist_net", data, lr=0.1, inspect="none", max_epochs=10)
    assert run.metrics["accuracy/test"] > 0.9
    assert run.model.class_names == (
        ["ash", "birch", "oak"] if kind == "names" else ["0", "1", "2"]
    )


def test_the_file_of_a_dataframe_goes_with_its_data_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = as_datamodule(pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [1.5, 2.5, 3.5]}), "y")
        assert [file.name for file in tmp_path.glob("zoo-frame-*/*")] == ["frame.csv"]
        del data
        gc.collect()
    assert not list(tmp_path.glob("zoo-frame-*"))
    assert not [w for w in caught if w.category is ResourceWarning]


def test_a_regression_in_memory_is_scaled() -> None:
    x, _ = clusters()
    run = zoo.fit("fashion_ffnn.tuned", (x, 1e4 * x[:, 0]), inspect="none", max_epochs=30)
    assert run.model.spec.task == "regression"
    assert run.metrics["r2/test"] > 0.8


def test_a_data_frame() -> None:
    x, y = clusters()
    frame = pd.DataFrame(x, columns=list("abcd")).assign(kind=np.array(["p", "q", "r"])[y])
    run = zoo.fit("tabular_mlp.tuned", frame, target="kind", inspect="none", max_epochs=10)
    assert run.metrics["accuracy/test"] > 0.9
    assert run.model.class_names == ["p", "q", "r"]
    with pytest.raises(UserError, match="target=COLUMN"):
        zoo.fit("tabular_mlp.tuned", frame)


def test_a_run_on_data_in_memory_says_so_when_it_is_to_be_repeated(run_cli: Callable) -> None:
    x, y = clusters(60)
    frame = pd.DataFrame(x, columns=list("abcd")).assign(y=y)
    for data, target in (((x, y), None), (frame, "y")):
        folder = zoo.fit("tabular_mlp", data, target=target, **QUIET).folder
        for command in (("fit", "--config", folder / "config.yaml"), ("evaluate", folder)):
            done = run_cli(*command)
            assert done.status == 2
            assert "given in memory" in done.err


def test_warnings_of_the_caller_stay_the_callers() -> None:
    before = warnings.showwarning, list(warnings.filters)
    zoo.fit("xor_mlp", **QUIET)
    assert (warnings.showwarning, list(warnings.filters)) == before


class Foreign(LightningDataModule):
    """A datamodule that knows nothing of the zoo."""

    def train_dataloader(self) -> DataLoader:
        x, y = clusters()
        return DataLoader(TensorDataset(torch.as_tensor(x), torch.as_tensor(y)), 32)


def test_a_datamodule_of_another_package() -> None:
    run = zoo.fit("mnist_net", Foreign(), inspect="none", max_epochs=3, lr=0.1)
    assert run.model.num_outputs == 3
    assert run.metrics["accuracy/train"] > 0.8
    assert (run.folder / "weights.safetensors").exists()


def test_a_datamodule_by_class_path(run_cli: Callable, tmp_path: Path) -> None:
    (tmp_path / "my_data.py").write_text(
        "from datamodules import LogicGate\nclass Gates(LogicGate):\n    'Gates.'\n"
    )
    done = run_cli(
        "fit", "--model", "xor_mlp", "--data", "my_data.Gates", "--trainer.max_epochs", 1
    )
    assert done.status == 0, done.err
    assert "xor_mlp on Gates" in done.out


@pytest.mark.parametrize("start", ["name", "run", "file"])
def test_fine_tuning_starts_from_any_weights(start: str, run_cli: Callable) -> None:
    first = zoo.fit("xor_mlp", **QUIET)
    weights = {
        "name": "xor_mlp",
        "run": str(first.folder),
        "file": str(first.folder / "weights.safetensors"),
    }[start]
    done = run_cli("fit", "--model", "xor_mlp", "--weights", weights, "--trainer.max_epochs", 0)
    assert done.status == 0, done.err
    assert "backbone and head" in done.out
    begun = zoo.load_weights("runs/xor_mlp/version_1").state_dict()
    torch.testing.assert_close(begun, zoo.load_weights(weights).state_dict(), rtol=0, atol=0)


def test_without_a_name_the_weights_say_what_is_trained(run_cli: Callable) -> None:
    run = zoo.fit("xor_mlp", settings={"model.hidden_dim": 5}, **QUIET)
    done = run_cli("fit", "--weights", run.folder, "--data.gate", "and", "--trainer.max_epochs", 1)
    assert done.status == 0, done.err
    again = zoo.load_weights("runs/xor_mlp/version_1")
    assert again.head.in_features == 5
    written = yaml.safe_load(Path("runs/xor_mlp/version_1/config.yaml").read_text())
    assert written["weights"]["source"] == str(run.folder)
    assert written["data"]["init_args"]["gate"] == "and"


def test_the_old_names_of_settings_answer_with_the_new_one(
    run_cli: Callable, tmp_path: Path
) -> None:
    done = run_cli("fit", "--model", "xor_mlp", "--model.loss", "mse")
    assert (done.status, done.err) == (2, "error: --model.loss is called --learning.loss.\n")
    (tmp_path / "old.yaml").write_text("model: {loss: mse}")
    done = run_cli("fit", "--model", "xor_mlp", "--config", "old.yaml")
    assert done.status == 2
    assert "sets loss under `model:`; it stands under `learning:`" in done.err
    with pytest.raises(UserError, match=r"learning=\{'loss'"):
        zoo.create_model("xor_mlp", loss="mse")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"data": 3}, "not a int"),
        ({"data": "minst"}, "Did you mean mnist"),
        ({"settings": {"model.hiden_dim": 3}}, "hidden_dim"),
        ({"learning": {"los": "mse"}}, "learning.loss"),
        ({"max_epoch": 3}, "max_epochs"),
        ({"data": ([[1.0]], [1, 2])}, "1 inputs, but 2 targets"),
        ({"data": ([["a"]], [1])}, "no numbers"),
    ],
)
def test_a_mistake_is_named(call: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        zoo.fit("xor_mlp", **call)
    assert not Path("runs").exists()
