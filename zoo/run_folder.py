"""The folder of a run: `runs/NAME/version_N`, and which one a training goes on in.

Importing it imports no torch.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from datamodules.folders import expand_home
from zoo.errors import UserError

with contextlib.suppress(ImportError):  # Windows has none
    import fcntl

CONFIG, CHECKPOINTS, WEIGHTS = "config.yaml", "checkpoints", "weights.safetensors"
CARD = "card.json"
# The last checkpoint, and the one before it: what a training goes on from.
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
# What may be changed to make a finished run longer.
LENGTH = ("max_epochs", "max_steps", "max_time")


def make_run_folder(root: Path, name: str, run: str = "") -> Path:
    """Make `root/name/version_N` with the lowest free N, also if another run does so right now.

    A run that has a name of its own gets `root/name/run`, unless there is one.
    """
    try:
        (root / name).mkdir(parents=True, exist_ok=True)
        if run and (root / name / run).exists():
            raise UserError(
                f"There is a run '{root / name / run}' already; give this one another --name."
            )
        if run:
            (root / name / run).mkdir()
            return root / name / run
        number = max(map(_number, _versions(root / name)), default=-1) + 1
        while True:
            folder = root / name / f"version_{number}"
            try:
                folder.mkdir()
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise UserError(
            f"The run directory '{root / name}' cannot be made: {error.strerror}. "
            "Choose another with --trainer.default_root_dir."
        ) from error


def shared_run_folder(root: Path, name: str, run: str = "") -> Path:
    """Make the run folder once, and let the other processes of a training on several find it.

    Those that Lightning starts inherit the environment, those of torchrun share its store.
    """
    if folder := _folder_of_first_process():
        return folder
    if "TORCHELASTIC_RUN_ID" in os.environ:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        from torch.distributed import TCPStore

        store = TCPStore(address, port, is_master=False)
        if os.environ["RANK"] == "0":
            store.set("zoo_run_folder", str(make_run_folder(root, name, run)))
        return Path(store.get("zoo_run_folder").decode())
    folder = make_run_folder(root, name, run)
    os.environ["ZOO_RUN_FOLDER"] = str(folder)
    return folder


def _folder_of_first_process() -> Path | None:
    """Return what the process said that Lightning started this one from."""
    if "ZOO_RUN_FOLDER" in os.environ and "LOCAL_RANK" in os.environ:
        return Path(os.environ["ZOO_RUN_FOLDER"])
    return None


@contextlib.contextmanager
def unless_nothing_begins(folder: Path | None) -> Iterator[None]:
    """Take an empty run folder away again where a mistake or Ctrl-C comes before the training."""
    try:
        yield
    except BaseException:
        if folder:
            with contextlib.suppress(OSError):  # there is something in it
                folder.rmdir()
                folder.parent.rmdir()
        raise


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("version_"))


def _versions(folder: Path) -> list[Path]:
    """Return the runs in a folder; `version_²` is somebody else's."""
    named = re.compile("version_[0-9]{1,18}")
    return [path for path in folder.glob("version_*") if named.fullmatch(path.name)]


# Going on


def find_run(resume: str | Path | bool, name: str | None, root: Path) -> Path:
    """Return the folder of the run to go on with.

    Args:
        resume: The folder; or True for the newest unfinished run of `name`.
        name: The name of a recipe.
        root: The folder of all runs.

    Raises:
        UserError: If there is none.
    """
    if folder := _folder_of_first_process():
        return folder
    if resume is not True:
        folder = expand_home(str(resume))
        if not (folder / CONFIG).is_file():
            raise UserError(
                f"'{folder}' is no folder of a run: there is no {CONFIG} in it. Name one such as "
                "runs/xor_mlp/version_0, or leave it out with --model NAME --resume."
            )
        return folder
    if name is None:
        raise UserError(
            "--resume takes the folder of a run, or goes with --model NAME: the newest unfinished "
            "run of that name."
        )
    root = expand_home(root)
    name = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    kinds = (root / name, root / f"{name}-synthetic")
    runs = [config.parent for kind in kinds for config in kind.glob(f"*/{CONFIG}")]
    unfinished = [run for run in runs if not is_finished(run)]
    if unfinished:
        return max(unfinished, key=lambda run: (run / CONFIG).stat().st_mtime_ns)
    fix = f"Begin one without --resume{', or name the folder of one elsewhere' * (not runs)}."
    if runs:
        last = max(runs, key=lambda run: (run / CONFIG).stat().st_mtime_ns)
        fix = f"To go on with a finished one: --resume {last} --trainer.max_epochs N."
    raise UserError(f"There is no unfinished run of {name} in '{root}'. {fix}")


def is_finished(folder: Path) -> bool:
    """Return whether a run has come to the end that its configuration says.

    The card is written last. A run that is made longer has an older card until it has ended.
    """
    try:
        card = json.loads((folder / CARD).read_text("utf-8"))
        config = yaml.safe_load((folder / CONFIG).read_text("utf-8"))
        then, now = (content["trainer"] for content in (card["recipe"], config))
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError, RecursionError):
        return False
    return [then.get(key) for key in LENGTH] == [now.get(key) for key in LENGTH]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a run folder to one training at a time, as long as its process lives.

    Raises:
        UserError: If a training is going on in it.
    """
    handle: int | None = None
    if "fcntl" in globals():
        with contextlib.suppress(OSError):  # a file system without locks
            handle = os.open(folder, os.O_RDONLY)
    try:
        if handle is not None:
            _lock(handle, folder)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _lock(handle: int, folder: Path) -> Any:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"A training is going on in '{folder}' right now: stop it or wait for its end, or name "
            "another folder with --resume."
        ) from error
    except OSError:
        return
