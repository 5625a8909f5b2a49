"""Checkpoints are data: nothing in them is called, copied or deleted.

Every payload leaves a mark when it runs: a file that must not be there afterwards.
"""

import os
import pickle
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import ROOT, Run
from toy import Numbers, network, trainer

from zoo import UserError
from zoo.architectures import FeedForward
from zoo.callbacks.checkpoints import KeepBest

pytestmark = pytest.mark.filterwarnings("ignore")


def trained(folder: Path, **options: Any) -> Path:
    """Train a toy network and return its last checkpoint; the best one is beside it."""
    best = KeepBest(
        folder / "checkpoints",
        filename="best",
        monitor="accuracy/val",
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    data = Numbers()
    run = trainer(folder, options.pop("epochs", 2), callbacks=[best], enable_checkpointing=True)
    run.fit(network(data), datamodule=data, weights_only=True, **options)
    return folder / "checkpoints" / "last.ckpt"


def rewrite(checkpoint: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = torch.load(checkpoint, weights_only=True)
    change(content)
    torch.save(content, checkpoint)


def best_state(content: dict[str, Any]) -> dict[str, Any]:
    (state,) = (s for key, s in content["callbacks"].items() if key.startswith("KeepBest"))
    return state


@pytest.mark.parametrize("secret", ["secret.txt", "../../secret.txt", "elsewhere/best.ckpt"])
def test_a_checkpoint_has_no_other_file_copied(tmp_path: Path, secret: str) -> None:
    last = trained(tmp_path / "first")
    (last.parent / "best.ckpt").unlink()
    target = (tmp_path / "first" / secret).resolve()
    target.parent.mkdir(exist_ok=True)
    target.write_text("a secret")
    rewrite(last, lambda c: best_state(c).update(best_model_path=str(target)))
    then = trained(tmp_path / "then", ckpt_path=last, epochs=3)
    for file in then.parent.iterdir():
        assert b"a secret" not in file.read_bytes()


def test_a_best_file_of_a_name_that_none_can_have_is_yet_to_come(tmp_path: Path) -> None:
    last = trained(tmp_path / "first")
    rewrite(last, lambda c: best_state(c).update(best_model_path="é" * 300))
    then = trained(tmp_path / "then", ckpt_path=last, epochs=3)
    assert (then.parent / "best.ckpt").exists()


@pytest.mark.parametrize("lost", [0, 2, 5])
def test_a_lost_momentum_begins_as_none(tmp_path: Path, lost: int) -> None:
    """The fused form, which is taken on a CPU, takes a momentum of all parameters or of none."""
    last = trained(tmp_path / "first")
    rewrite(last, lambda c: c["optimizer_states"][0]["state"][lost]["momentum_buffer"].zero_())
    expected = torch.load(trained(tmp_path / "zero", ckpt_path=last, epochs=3), weights_only=True)
    rewrite(last, lambda c: c["optimizer_states"][0]["state"].pop(lost))
    found = torch.load(trained(tmp_path / "then", ckpt_path=last, epochs=3), weights_only=True)
    assert found["state_dict"].keys() == expected["state_dict"].keys()
    for name, value in expected["state_dict"].items():
        assert torch.equal(found["state_dict"][name], value)


def test_what_is_beside_a_checkpoint_is_taken_if_it_is_one(tmp_path: Path) -> None:
    last = trained(tmp_path / "first")
    best = last.parent / "best.ckpt"
    best.write_bytes(pickle.dumps("a secret"))
    with pytest.raises(UserError, match=r"best\.ckpt.*not a checkpoint"):
        trained(tmp_path / "then", ckpt_path=last, epochs=3)
    best.unlink()
    (tmp_path / "other.ckpt").write_bytes(last.read_bytes())
    best.symlink_to(tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"best\.ckpt.*link"):
        trained(tmp_path / "then", ckpt_path=last, epochs=3)
    best.unlink()
    torch.save({"state_dict": {"x": torch.zeros(3)}, "loops": {}}, best)
    with pytest.raises(UserError, match=r"best\.ckpt.*not of this network"):
        trained(tmp_path / "then", ckpt_path=last, epochs=3)
    assert not (tmp_path / "then" / "checkpoints" / "best.ckpt").exists()


def test_a_run_that_was_moved_goes_on_with_its_best(tmp_path: Path) -> None:
    last = trained(tmp_path / "first")
    score = best_state(torch.load(last, weights_only=True))["best_model_score"]
    (tmp_path / "first").rename(tmp_path / "moved")
    then = trained(tmp_path / "then", ckpt_path=tmp_path / "moved/checkpoints/last.ckpt", epochs=3)
    assert best_state(torch.load(then, weights_only=True))["best_model_score"] >= score


@pytest.mark.parametrize("key", ["kth_best_model_path", "last_model_path", "best_k_models"])
def test_a_checkpoint_has_no_file_deleted(xor_run: Path, run_cli: Run, key: str) -> None:
    """Lightning removes the best so far when a better one comes, wherever it is said to be."""
    precious = Path("precious.txt")
    precious.write_text("mine")
    last = xor_run / "checkpoints" / "last.ckpt"
    folder = (Path("runs/xor_mlp/version_1") / "checkpoints").absolute()  # the next run's

    def change(content: dict[str, Any]) -> None:
        path = f"{folder}/../../../../precious.txt"
        value: Any = {path: torch.tensor(-1.0)} if key == "best_k_models" else path
        best_state(content).update({"dirpath": str(folder), key: value})

    rewrite(last, change)
    result = run_cli("fit", "--config", xor_run / "config.yaml", "--ckpt_path", last)
    assert result.status == 2
    assert "it names '" in result.err
    assert precious.read_text() == "mine"


class Bomb:
    """A pickle that leaves a mark when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self.mark),)


@pytest.mark.parametrize(
    "where", ["callbacks", "hyper_parameters", "loops", "state_dict", "LogicGate"]
)
def test_a_pickle_in_a_checkpoint_is_not_opened(
    xor_run: Path, run_cli: Run, mark: Path, where: str
) -> None:
    last = xor_run / "checkpoints" / "last.ckpt"
    rewrite(last, lambda content: content.setdefault(where, {}).update(x=Bomb(mark)))
    result = run_cli("fit", "--model", "xor_mlp", "--ckpt_path", last)
    assert result.status == 2
    with pytest.raises(UserError):
        FeedForward.load_from_checkpoint(last)
    assert not mark.exists()


@pytest.mark.parametrize(
    "hparams",
    [
        {"_instantiator": "payload.data"},
        {"_class_path": "payload.Net", "_instantiator": "lightning.pytorch.cli.instantiate_module"},
    ],
)
def test_a_checkpoint_does_not_say_what_to_make_of_it(mark: Path, hparams: dict[str, Any]) -> None:
    last = trained(Path("first"))
    rewrite(last, lambda content: content["hyper_parameters"].update(hparams))
    with pytest.raises(UserError):
        FeedForward.load_from_checkpoint(last)
    assert not mark.exists()
    assert "payload" not in sys.modules


@pytest.mark.parametrize("key", ["optimizer", "lr_scheduler", "learning"])
@pytest.mark.parametrize("named", ["payload.Net", "subprocess.Popen"])
def test_what_a_checkpoint_says_of_learning_is_nothing_to_its_network(
    mark: Path, key: str, named: str
) -> None:
    last = trained(Path("first"))
    spec = {"class_path": named, "init_args": {"args": ["touch", str(mark)]}}
    rewrite(last, lambda content: content["hyper_parameters"].update({key: spec}))
    model = FeedForward.load_from_checkpoint(last)
    model.configure_optimizers()
    assert not mark.exists()
    assert "payload" not in sys.modules


def test_a_checkpoint_of_our_own_is_loaded(mark: Path) -> None:
    last = trained(Path("first"))
    model = FeedForward.load_from_checkpoint(last)
    expected = torch.load(last, weights_only=True)["state_dict"]
    torch.testing.assert_close(dict(model.state_dict()), dict(expected))
    with last.open("rb") as file:
        again = FeedForward.load_from_checkpoint(file)
    torch.testing.assert_close(dict(again.state_dict()), dict(expected))


# What the installation must have


def test_a_torch_without_the_hole_in_weights_only_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lowest = dict(
        re.match(r"([\w-]+)>=([\d.]+)", entry).groups()
        for entry in project["dependencies"]
        if entry.startswith("torch")
    )
    assert tuple(map(int, lowest["torch"].split("."))) >= (2, 10)
    assert tuple(map(int, lowest["torchvision"].split("."))) >= (0, 25)


def test_every_torch_load_reads_weights_only() -> None:
    for path in (
        p for folder in ("zoo", "datamodules", "scripts") for p in (ROOT / folder).rglob("*.py")
    ):
        for call in re.findall(r"torch\.load\(.*", path.read_text("utf-8")):
            assert "weights_only=True" in call, path
