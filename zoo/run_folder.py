"""The folder of a run: `runs/NAME/version_N`."""

import os
from pathlib import Path

from zoo.errors import UserError

CONFIG, CHECKPOINTS, WEIGHTS = "config.yaml", "checkpoints", "weights.safetensors"


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
        taken = [p.name.removeprefix("version_") for p in (root / name).glob("version_*")]
        number = max((int(n) for n in taken if n.isdigit()), default=-1) + 1
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
    if "ZOO_RUN_FOLDER" in os.environ and "LOCAL_RANK" in os.environ:
        return Path(os.environ["ZOO_RUN_FOLDER"])
    if "TORCHELASTIC_RUN_ID" in os.environ:
        import torch  # not for those who only look at runs

        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = torch.distributed.TCPStore(address, port, is_master=False)
        if os.environ["RANK"] == "0":
            store.set("zoo_run_folder", str(make_run_folder(root, name, run)))
        return Path(store.get("zoo_run_folder").decode())
    folder = make_run_folder(root, name, run)
    os.environ["ZOO_RUN_FOLDER"] = str(folder)
    return folder
