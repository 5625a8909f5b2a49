"""Starting up: fast answers without torch, little on top of torch and Lightning, and a wheel."""

import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("call", "status"),
    [
        ("import zoo; zoo.list_models()", 0),
        ("import datamodules", 0),
        ("from zoo.cli import main; main(['--help'])", 0),
        ("from zoo.cli import main; main(['fit', '--help'])", 0),
        ("from zoo.cli import main; main(['fit', '--list'])", 0),
        ("from zoo.cli import main; main(['models'])", 0),
        ("from zoo.cli import main; main(['fit', '--model', 'fashion_fnn'])", 2),
        ("from zoo.cli import main; main(['fit', '--model', 'fashion_ffnn', '--data', 'x'])", 2),
        ("from zoo.cli import main; main(['fit'])", 2),
        ("from zoo.cli import main; main(['fitt'])", 2),
        ("from zoo.cli import main; main(['ship'])", 2),  # what only maintainers run is no command
    ],
)
def test_answers_at_once_and_without_torch(
    run_process: Callable[..., Any], call: str, status: int
) -> None:
    code = f"import atexit, sys\natexit.register(lambda: print(sorted(sys.modules)))\n{call}"
    started = time.perf_counter()
    result = run_process("-c", code)
    seconds = time.perf_counter() - started
    assert result.status == status, result.err
    modules = result.out.splitlines()[-1]
    assert not [m for m in ("torch", "lightning", "pandas", "numpy") if f"'{m}'" in modules]
    # 0.1 to 0.15 s with the interpreter's own start; others may be using the machine.
    assert seconds < 1


def cpu_seconds(*argv: object) -> float:
    """Return the processor time that Python takes with these arguments: the less of two runs."""
    measured = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *map(str, argv)], check=True, capture_output=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        measured.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(measured)


@pytest.mark.slow
def test_starting_up_adds_little_to_importing_torch_and_lightning() -> None:
    """Up to the settings, with all their options: all that comes before data and network."""
    imports = cpu_seconds("-c", "import torch, lightning.pytorch, lightning.pytorch.cli")
    start = cpu_seconds("scripts/fit.py", "--model", "fashion_ffnn", "--print_config")
    print(f"imports {imports:.2f} s, start-up {start:.2f} s of processor time")
    assert start - imports < 0.5


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds, and nothing else of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, as setuptools leaves build folders in the source tree.
    ignore = shutil.ignore_patterns(".git", ".venv", "runs", "data", "build", "*.egg-info", "tests")
    shutil.copytree(ROOT, folder / "source", ignore=ignore)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    subprocess.run(
        [sys.executable, "-c", build], cwd=folder / "source", check=True, capture_output=True
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def outside(installed: Path, tmp_path: Path, *argv: object) -> subprocess.CompletedProcess[str]:
    """Run Python with the wheel's content alone, outside the checkout."""
    return subprocess.run(
        # -P: the working directory is no place to import from.
        [sys.executable, "-P", *map(str, argv)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_has_all_that_the_checkout_has(installed: Path) -> None:
    for package in ("zoo", "datamodules"):
        here, there = (
            {
                str(p.relative_to(root))
                for p in (root / package).rglob("*")
                if p.is_file() and "__pycache__" not in p.parts
            }
            for root in (ROOT, installed)
        )
        assert here == there


def test_the_wheel_makes_networks_and_has_its_recipes(installed: Path, tmp_path: Path) -> None:
    code = (
        "import zoo; assert {installed!r} in zoo.__file__, zoo.__file__; "
        "print(zoo.create_model('fashion_ffnn', datamodule=zoo.create_datamodule('fashion_mnist',"
        " source='synthetic')).head.out_features, len(zoo.list_models()))"
    ).replace("{installed!r}", repr(str(installed)))
    done = outside(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    from zoo import list_models

    assert done.stdout.split() == ["10", str(len(list_models()))]


def test_the_wheel_has_the_front_end(installed: Path, tmp_path: Path) -> None:
    done = outside(
        *(installed, tmp_path, "-m", "zoo", "fit", "--model", "fashion_ffnn"),
        *("--data.source", "synthetic", "--trainer.max_epochs", 1),
        *("--trainer.limit_train_batches", 2),
    )
    assert done.returncode == 0, done.stderr
    assert "test (synthetic)" in done.stdout
    assert list(tmp_path.glob("runs/*/version_0/weights.safetensors"))
