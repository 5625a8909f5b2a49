"""Modules are found where recipes are, and never instead of installed ones.

Every payload leaves a mark when it runs: a file that must not be there afterwards.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile import QUICK, ROOT, Run, write_recipe

import zoo
from zoo import UserError

pytestmark = pytest.mark.filterwarnings("ignore")


def leave_marks(folder: Path, *modules: str) -> None:
    """Write modules of these names that leave a mark when they are imported."""
    folder.mkdir(exist_ok=True)
    for name in modules:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'mark')!r}, 'a').write({name!r})\n")


INSTALLED = ("torch", "csv", "numpy", "json", "lightning", "yaml", "matplotlib", "tensorboard")
OPTIONAL = ("pyarrow", "rich", "omegaconf", "polars", "sklearn", "wandb", "numexpr", "bottleneck")


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "zoo"],
        [ROOT / "scripts" / "{}.py"],
        ["-P", "-c", "import sys; from zoo.cli import main; main(sys.argv[1:])"],
    ],
    ids=["module", "script", "entry point"],
)
def test_neither_folder_stands_for_installed_or_missing_packages(
    tmp_path: Path, run_process: Run, command: list[Any]
) -> None:
    for folder in (tmp_path, tmp_path / "recipes"):
        leave_marks(folder, *INSTALLED, *OPTIONAL)
    (tmp_path / "my_helpers.py").write_text("raise RuntimeError('of another folder')")
    (tmp_path / "recipes" / "my_helpers.py").write_text("WIDTH = 3\n")
    (tmp_path / "recipes" / "my_network.py").write_text(
        "import importlib, pandas\n"
        "from zoo.architectures import FeedForward\n"
        "class Net(FeedForward):\n"
        "    def __init__(self, spec):\n"
        "        from my_helpers import WIDTH\n"
        "        importlib.import_module('my_helpers')\n"
        "        super().__init__(spec, hidden_dim=WIDTH)\n"
    )
    (tmp_path / "table.csv").write_text("a,b\n" + "1,0\n2,1\n" * 30)
    write_recipe(
        tmp_path / "recipes" / "own.yaml",
        model={"class_path": "my_network.Net"},
        data={
            "class_path": "datamodules.Tabular",
            "init_args": {"path": "table.csv", "target": "b"},
        },
    )
    commands = (
        ("fit", "--model", "recipes/own.yaml", *QUICK),
        ("predict", "--weights", "runs/own/version_0", "--input", "table.csv"),
    )
    for name, *arguments in commands:
        start = [str(part).format(name) for part in command]
        start += [] if "scripts" in start[0] else [name]
        done = run_process(*start, *arguments, *(["--trust", "my_network.Net"]), timeout=240)
        # Weights know nothing of the recipe's folder, so predict does not find the network.
        assert done.status == (0 if name == "fit" else 2), done.err
    assert "There is no module 'my_network'" in done.err
    assert not (tmp_path / "mark").exists(), (tmp_path / "mark").read_text()
    assert not (tmp_path / "recipes" / "mark").exists(), (tmp_path / "recipes/mark").read_text()


def test_tensorboard_is_the_installed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.cli.tensorboard import TensorBoard

    leave_marks(tmp_path, *INSTALLED)
    monkeypatch.chdir(tmp_path)
    links: list[str] = []
    server = TensorBoard(tmp_path, links.append)
    try:
        server._reader.join(60)
        server._process.wait(0.1)
    except subprocess.TimeoutExpired:
        pass  # it runs
    finally:
        server._process.terminate()
        server._process.wait()
    assert not (tmp_path / "mark").exists()


def test_scripts_of_ours_are_not_taken_for_a_users_module(tmp_path: Path, run_process: Run) -> None:
    (tmp_path / "predict.py").write_text(
        "from zoo.architectures import FeedForward\nclass Net(FeedForward):\n    pass\n"
    )
    write_recipe(tmp_path / "own.yaml", model={"class_path": "predict.Net"})
    done = run_process(ROOT / "scripts" / "fit.py", "--model", "own.yaml", *QUICK)
    assert done.status == 0, done.err


def test_a_second_module_of_the_same_name_is_not_mistaken_for_the_first(
    mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "my_twin", raising=False)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my_twin.py").write_text(
            "from zoo.architectures import FeedForward\n"
            f"class Net(FeedForward):\n    folder = {folder!r}\n"
        )
        write_recipe(tmp_path / folder / "own.yaml", model={"class_path": "my_twin.Net"})
    assert zoo.create_model("one/own.yaml").folder == "one"
    assert zoo.create_model("one/own.yaml").folder == "one"
    with pytest.raises(UserError, match=r"'my_twin' was loaded from .*one"):
        zoo.create_model("two/own.yaml")
