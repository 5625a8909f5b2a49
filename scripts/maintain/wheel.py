"""Install the wheel into an empty environment and use it: `python scripts/maintain/wheel.py`.

Every command and the three lines of Python run there, outside the checkout, and what needs an extra
must say so. The dependencies are those of the environment that runs this, without the extras', lest
5.6 GB be installed again. With --extras they are installed, and then each extra in turn, and its
command run.
"""

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

from zoo.cli import run_main
from zoo.errors import UserError

ROOT = Path(__file__).parents[2]
TABLE = "a,b,label\n" + "".join(f"{i % 7},{i % 3},{'xy'[i % 2]}\n" for i in range(60))
LINES = """
import torch, zoo
model = zoo.create_model("fashion_ffnn", pretrained=True, classes=["shirt", "shoe", "bag"])
model.freeze_backbone()
assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 3)
"""
QUICK = ("--trainer.max_epochs", "1", "--inspect", "none")
TABLE_MODEL = ("--model", "tabular_mlp", "--data.path", "table.csv", "--data.target", "label")
#: What must work without any extra.
COMMANDS = (
    ("-m", "zoo", "--help"),
    ("-c", LINES),
    ("-m", "zoo", "models", "--model", "mnist_lstm"),
    ("-m", "zoo", "fit", "--model", "xor_mlp", *QUICK),
    ("-m", "zoo", "fit", *TABLE_MODEL, *QUICK),
    ("-m", "zoo", "evaluate", "runs/xor_mlp/version_0"),
    ("-m", "zoo", "predict", "--weights", "runs/tabular_mlp/version_0", "--input", "table.csv"),
    ("-m", "zoo", "export", "--weights", "xor_mlp", "--format", "pt2"),
)
#: What each extra brings that is imported, besides what is there without it.
MODULES = {
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "sweep": ("optuna",),
    "hub": ("huggingface_hub",),
    "demo": ("gradio",),
    "parquet": ("pyarrow",),
}
#: What each extra is for, and what shows that it works. A hub cannot be reached from everywhere,
#: so there a sentence about that is right too; and a page serves until it is interrupted.
EXTRAS = {
    "export": ("-m", "zoo", "export", "--weights", "xor_mlp", "--format", "onnx"),
    "sweep": ("-m", "zoo", "sweep", "--model", "xor_mlp", "--grid", "lr=0.1,0.01", *QUICK),
    "parquet": (
        "-m",
        "zoo",
        "predict",
        "--weights",
        "runs/tabular_mlp/version_0",
        "--input",
        "table.csv",
        "--output",
        "table.parquet",
    ),
    "hub": ("-m", "zoo", "fit", "--weights", "hf-hub:a/b/c"),
    "demo": ("-m", "zoo", "demo", "--weights", "xor_mlp", "--port", "-1"),
}
ANSWERS = {"hub": (2, "is no name on the hub"), "demo": (2, "Port -1 cannot be used")}


def main(argv: list[str]) -> None:
    """Build, install, run; end with status 1 at the first thing that does not work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extras", action="store_true", help="install each extra in turn, too")
    chosen = parser.parse_args(argv)
    with TemporaryDirectory() as folder:
        check(Path(folder), chosen.extras)


def check(folder: Path, with_extras: bool) -> None:
    """Do all of it in an empty folder.

    Raises:
        UserError: Which tells what did not work.
    """
    wheel = build(folder)
    python = environment(folder / "environment", borrow=not with_extras)
    alone = () if with_extras else ("--no-deps", "--no-index")
    _run(python, "-m", "pip", "install", "-q", *alone, str(wheel), cwd=folder)
    work = folder / "work"
    work.mkdir()
    (work / "table.csv").write_text(TABLE, "utf-8")
    where = _run(python, "-c", "import zoo; print(zoo.__file__)", cwd=work).strip()
    if not Path(where).is_relative_to(folder):
        raise UserError(f"The package comes from {where}, not from the wheel.")
    for command in COMMANDS:
        _run(python, *command, cwd=work)
        print(f"works: {_shown(command)}", flush=True)
    for extra, command in EXTRAS.items():
        done = _call(python, *command, cwd=work)
        advice = f"pip install 'lightning-zoo[{extra}]'"
        if done.returncode != 2 or advice not in done.stderr or done.stderr.count("\n") != 1:
            raise UserError(f"{_shown(command)} does not name its extra:\n{done.stderr}")
        print(f"says so: {done.stderr.strip()}", flush=True)
        if with_extras:
            _run(python, "-m", "pip", "install", "-q", f"{wheel}[{extra}]", cwd=folder)
            done = _call(python, *command, cwd=work)
            if not _works(extra, done):
                raise UserError(f"{_shown(command)} fails with its extra:\n{done.stderr}")
            print(f"works with [{extra}]: {_shown(command)}", flush=True)


def build(folder: Path) -> Path:
    """Build the wheel from a copy, as setuptools leaves folders in the tree, and return it."""
    ignore = shutil.ignore_patterns(".git", ".venv", "runs", "data", "build", "*.egg-info", "tests")
    shutil.copytree(ROOT, folder / "source", ignore=ignore)
    code = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    _run(Path(sys.executable), "-c", code, cwd=folder / "source")
    (wheel,) = folder.glob("*.whl")
    return wheel


def environment(folder: Path, borrow: bool) -> Path:
    """Make an environment, and return its Python.

    Args:
        folder: Where.
        borrow: Let it find the packages of this one behind its own, but not those of the extras.
    """
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    if borrow:
        code = "import site; print(site.getsitepackages()[0])"
        own = Path(_run(python, "-c", code, cwd=folder).strip())
        packages = [path for path in sys.path if path.endswith("site-packages")]
        hidden = sorted(module for modules in MODULES.values() for module in modules)
        # What is None there counts as not installed.
        hide = f"import sys; sys.modules.update(dict.fromkeys({hidden}))"
        (own / "dependencies.pth").write_text("\n".join([*packages, hide]) + "\n", "utf-8")
    return python


def _works(extra: str, done: "subprocess.CompletedProcess[str]") -> bool:
    status, sentence = ANSWERS.get(extra, (0, ""))
    return done.returncode == status and sentence in done.stderr


def _run(python: Path, *arguments: str, cwd: Path) -> str:
    done = _call(python, *arguments, cwd=cwd)
    if done.returncode:
        raise UserError(f"{_shown(arguments)} ends with {done.returncode}:\n{done.stderr}")
    return done.stdout


def _call(python: Path, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    own = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        [python, *arguments], cwd=cwd, env=own, capture_output=True, text=True, check=False
    )


def _shown(command: tuple[str, ...]) -> str:
    return "python " + ("-c '...'" if command[0] == "-c" else " ".join(command))


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
