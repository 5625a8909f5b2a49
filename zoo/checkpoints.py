"""Checkpoints are data: what is read of one, and what in it is not believed."""

from collections.abc import Container
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from zoo.classes import check_spec, class_in_data
from zoo.errors import UserError

KINDS = {"optimizer": Optimizer, "lr_scheduler": LRScheduler}


def read_checkpoint(path: Any) -> dict[str, Any]:
    """Read a checkpoint of a run, on the CPU; nothing in it is executed.

    Args:
        path: A file, or one that is open for reading, which is read from its beginning again.

    Raises:
        UserError: If it is none, or is damaged.
    """
    if isinstance(path, (str, Path)) and not Path(path).is_file():
        raise UserError(f"There is no checkpoint '{path}'.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found, _ = content["state_dict"], content["loops"]
        if not isinstance(found, dict):
            raise TypeError("its weights have no names")
    except (OSError, EOFError, KeyError, RuntimeError, TypeError, UnpicklingError) as error:
        raise UserError(f"'{path}' is not a checkpoint of a run, or is damaged.") from error
    if hasattr(path, "seek"):
        path.seek(0)
    return content


def check_hparams(path: Any, given: Container[str] = ()) -> None:
    """Refuse a checkpoint that names a class which is not the zoo's, torch's or allowed.

    Args:
        path: The checkpoint.
        given: Arguments of the network that the caller gives anew.

    Raises:
        UserError: If there is such a class. Nothing of it was imported.
    """
    place = f"The checkpoint '{path}'"
    hparams = read_checkpoint(path).get("hyper_parameters") or {}
    for key in ("_class_path", "_instantiator"):  # LightningCLI's: what makes the network
        if key in hparams:
            raise UserError(f"{place} says itself what to make of it ({key}): it is not loaded.")
    for key, kind in KINDS.items():
        spec = hparams.get(key)
        if spec is None or key in given:
            continue
        if not isinstance(spec, dict) or "class_path" not in spec:
            raise UserError(f"{place} names no class for its {key}.")
        check_spec(spec, kind, partial(class_in_data, place=place))


def check_paths(content: dict[str, Any], path: Path) -> None:
    """Refuse a checkpoint whose callbacks name files anywhere: Lightning deletes older ones.

    Args:
        content: What the checkpoint holds.
        path: Where it is, for the error.

    Raises:
        UserError: If a file is not in the folder of its callback.
    """
    for state in (content.get("callbacks") or {}).values():
        if not isinstance(state, dict):
            continue
        folder = str(state.get("dirpath") or "")
        files = [state.get(key) for key in ("kth_best_model_path", "last_model_path")]
        for file in filter(None, [*files, *(state.get("best_k_models") or {})]):
            if ".." in Path(file).parts or not Path(file).is_relative_to(folder):
                raise UserError(f"'{path}' is not a checkpoint to go on from: it names '{file}'.")
