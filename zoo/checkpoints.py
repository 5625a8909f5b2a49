"""Checkpoints are data: what is read of one, and what in it is not believed."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from zoo.errors import UserError


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


def check_hparams(path: Any) -> None:
    """Refuse a checkpoint that says itself what to make of it, as LightningCLI's do.

    Raises:
        UserError: If it does. Nothing that it names was imported.
    """
    hparams = read_checkpoint(path).get("hyper_parameters") or {}
    for key in ("_class_path", "_instantiator"):
        if key in hparams:
            raise UserError(
                f"The checkpoint '{path}' says itself what to make of it ({key}): not loaded."
            )


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
