"""What a run leaves behind, what it says about it, and repeating it from its files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

Run = Callable[..., Any]

# Five updates on drawn images: a second or less.
QUICK = (
    *("--data.source", "synthetic", "--inspect", "none"),
    *("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 5),
)
FASHION = ("--model", "fashion_ffnn", *QUICK)


def only_run(root: Path = Path("runs")) -> Path:
    (folder,) = root.glob("*/version_*")
    return folder


def card(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "card.json").read_text())


def test_the_run_directory_has_everything_and_says_synthetic_everywhere(run_cli: Run) -> None:
    result = run_cli("fit", *FASHION, "--trainer.val_check_interval", 2)
    assert result.status == 0, result.err
    folder = only_run()
    assert {p.name for p in folder.iterdir()} >= {
        "config.yaml",
        "card.json",
        "weights.safetensors",
        "checkpoints",
    }
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "previous.ckpt",
    }
    assert list(folder.glob("events.out.tfevents.*"))
    # The warning, the first line, the folder, the settings, the checkpoint, the card, the table.
    assert "SYNTHETIC DATA" in result.err
    assert "FashionMNIST (synthetic; 11,000 / 1,000 / 2,000)" in result.out
    assert "synthetic" in folder.parent.name
    assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["init_args"]["source"] == (
        "synthetic"
    )
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["FashionMNIST"]["origin"] == "synthetic"
    assert card(folder)["dataset"] == {"name": "FashionMNIST", "origin": "synthetic"}
    for split in ("train", "validation", "test"):
        assert f"{split} (synthetic)" in result.out
    assert str(folder / "checkpoints") in result.out
    assert "tensorboard --logdir runs" in result.out


def test_the_checkpoint_that_is_named_at_the_end_exists(run_cli: Run) -> None:
    # Five updates are fewer than the 500 between validations, so there is no best one.
    for select in ("last", "best"):
        Path(f"{select}.yaml").write_text(f"select: {select}")
        result = run_cli("fit", *FASHION, "--config", f"{select}.yaml")
        assert result.status == 0, result.err
        named = next(line.split()[-1] for line in result.out.splitlines() if "checkpoint" in line)
        assert Path(named).is_file()


def test_the_last_lines_are_as_short_as_what_was_typed(run_cli: Run) -> None:
    result = run_cli("fit", *FASHION)
    assert result.out.splitlines()[-4].endswith(" s, 1 epoch")
    assert str(Path.cwd()) not in result.out  # paths are as the user gave them


@pytest.mark.parametrize(
    ("logger", "advertised"),
    [
        (["CSVLogger", "--trainer.logger.save_dir", "logs"], None),
        (["false"], None),
        (["TensorBoardLogger", "--trainer.logger.save_dir", "logs"], "tensorboard --logdir logs"),
    ],
)
def test_tensorboard_is_advertised_where_it_has_something_to_show(
    run_cli: Run, logger: list[str], advertised: str | None
) -> None:
    result = run_cli("fit", *FASHION, "--trainer.logger", *logger)
    assert result.status == 0, result.err
    assert (advertised or "weights.safetensors") in result.out.splitlines()[-1]
    assert ("tensorboard" in result.out) == bool(advertised)


def test_best_weights_are_those_of_the_best_validation(run_cli: Run) -> None:
    Path("best.yaml").write_text("select: best")
    worse_later = ("--lr", 0.05, "--trainer.max_epochs", 4, "--trainer.val_check_interval", 5)
    result = run_cli("fit", *FASHION, "--config", "best.yaml", *worse_later)
    assert result.status == 0, result.err
    folder = only_run()
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    weights = load_file(folder / "weights.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in best["state_dict"].items())
    (scores,) = (state for name, state in best["callbacks"].items() if name.startswith("KeepBest"))
    measured = card(folder)["metrics"]["accuracy/val"]
    assert measured == pytest.approx(scores["best_model_score"].item(), abs=1e-6)


def test_a_second_run_gets_a_directory_of_its_own(run_cli: Run) -> None:
    for _ in range(2):
        assert run_cli("fit", *FASHION).status == 0
    assert sorted(p.name for p in Path("runs").glob("*/*")) == ["version_0", "version_1"]


def test_a_runs_settings_repeat_the_run(run_cli: Run) -> None:
    changes = ("--model.hidden_dim", 16, "--data.val_size", 500, "--optimizer", "Adam")
    assert run_cli("fit", *FASHION, *changes).status == 0
    folder = only_run()
    again = run_cli("fit", "--config", folder / "config.yaml", "--inspect", "none")
    assert again.status == 0, again.err
    other = folder.parent / "version_1"
    assert (other / "weights.safetensors").read_bytes() == (
        folder / "weights.safetensors"
    ).read_bytes()
    assert (other / "config.yaml").read_text() == (folder / "config.yaml").read_text()


def test_another_root_directory(run_cli: Run, tmp_path: Path) -> None:
    assert run_cli("fit", *FASHION, "--trainer.default_root_dir", "elsewhere").status == 0
    assert only_run(tmp_path / "elsewhere")
    assert not (tmp_path / "runs").exists()


def test_a_home_in_the_root_directory_is_found(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    fit = ("fit", "--model", "xor_mlp", "--inspect", "none", "--trainer.max_epochs", 1)
    result = run_cli(*fit, "--trainer.default_root_dir=~/mine")
    assert result.status == 0, result.err
    assert only_run(tmp_path / "home" / "mine")
    finished = run_cli(*fit[:3], "--resume", "--trainer.default_root_dir=~/mine")
    assert "no unfinished run" in finished.err
    assert "mine/xor_mlp/version_0" in finished.err
    result = run_cli(*fit, "--trainer.default_root_dir=~nobody-of-that-name/x")
    assert result.status == 2
    assert "home of a user who is not known" in result.err
    assert not list(tmp_path.glob("~*"))


@pytest.mark.parametrize("of", ["run", "weights"])
def test_evaluate_repeats_the_cards_metrics_from_the_files_alone(run_cli: Run, of: str) -> None:
    assert run_cli("fit", *FASHION).status == 0
    folder = only_run()
    (folder / "config.yaml").unlink()
    target = folder if of == "run" else folder / "weights.safetensors"
    for split in ("test", "val"):
        result = run_cli("evaluate", target, "--split", split)
        assert result.status == 0, result.err
        measured, recorded = (
            line.split()[1:] for line in result.out.splitlines() if line[:4] in ("meas", "card")
        )
        assert measured == recorded
        assert len(measured) == 4


def test_quiet_but_for_what_helps(run_cli: Run) -> None:
    result = run_cli("fit", *FASHION, "--data.source", "synthetic")
    assert len(result.out.splitlines()) < 15
    for noise in (
        "Tip",
        "litlogger",
        "workers",
        "GPU available",
        "`Trainer.fit` stopped",
        "warning",
    ):
        assert noise not in result.out + result.err


@pytest.mark.real_data
def test_real_images_are_called_real(run_cli: Run) -> None:
    result = run_cli("fit", *FASHION, "--data.source", "auto", "--trainer.limit_val_batches", 1)
    assert result.status == 0, result.err
    assert "FashionMNIST (real; 55,000 / 5,000 / 10,000)" in result.out
    assert only_run().parent.name == "fashion_ffnn"
    assert "synthetic" not in (only_run() / "card.json").read_text()


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (
            ("--trainer.strategy", "ddp", "--trainer.devices", 5, "--trainer.accelerator", "cpu"),
            "has 4 examples for 5 processes",
        ),
        (("--trainer.strategy", "no_such_one"), "no_such_one"),
        (("--ckpt_path", "no_such.ckpt"), "no_such.ckpt"),
    ],
)
def test_what_does_not_begin_leaves_no_run(
    run_cli: Run, mistake: tuple[object, ...], told: str
) -> None:
    result = run_cli("fit", "--model", "xor_mlp", *mistake)
    assert result.status == 2
    assert told in result.err
    assert not list(Path("runs").iterdir())
