"""Checkpoints are data: what is read of one, and what in it is not believed."""

import itertools
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from zoo.errors import UserError
from zoo.run_folder import CHECKPOINTS, LAST, PREVIOUS


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
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        _check_kinds(content)
    except RecursionError as error:
        raise UserError(f"'{path}' is not a checkpoint of a run: it is nested.") from error
    except (*DAMAGED, UnpicklingError) as error:
        raise UserError(f"'{path}' is not a checkpoint of a run, or is damaged.") from error
    if hasattr(path, "seek"):
        path.seek(0)
    return content


# What reading bytes that are no checkpoint raises, here and in torch, beside UnpicklingError.
DAMAGED = (
    *(OSError, EOFError, LookupError, AttributeError, RuntimeError, TypeError, ValueError),
    *(AssertionError, OverflowError, MemoryError, zipfile.BadZipFile),
)
#: Where the weights that learn are if `state_dict` holds their average.
CURRENT = "current_model_state"
# What Lightning goes on with, and of which kind it must be.
KINDS = {
    "state_dict": dict,
    CURRENT: dict,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "hyper_parameters": dict,
    "epoch": int,
    "global_step": int,
    "threads": int,
}


VERSION = r"\d+(\.\d+)*((a|b|rc|\.post|\.dev)\d+)*(\+[a-z0-9.]+)?"


def _check_archive(path: Any) -> None:
    """Refuse a checkpoint with a byte that changed, or that would grow when it is unpacked.

    torch looks at no checksum, and its archives are not compressed.
    """
    with zipfile.ZipFile(path) as archive:
        entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
        for entry, following in itertools.pairwise(entries):
            if entry.header_offset + entry.file_size > following.header_offset:
                raise zipfile.BadZipFile(f"{entry.filename} lies over another part")
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise zipfile.BadZipFile(f"{entry.filename} is compressed")
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{damaged} is damaged")
    if hasattr(path, "seek"):
        path.seek(0)


def _check_kinds(content: Any) -> None:
    for key, kind in KINDS.items():
        if key not in content and key not in ("state_dict", "loops"):
            continue
        if not isinstance(content[key], kind):
            raise TypeError(f"{key} is of another kind")
    for name, value in (*content["state_dict"].items(), *content.get(CURRENT, {}).items()):
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise TypeError("its weights have no names, or are no numbers")
        if value.device.type != "cpu" or value.layout != torch.strided:
            raise TypeError("its weights are not stored as numbers one after the other")


def last_checkpoint(folder: Path) -> tuple[Path, dict[str, Any], str]:
    """Return the checkpoint that a run goes on from: the last one, or that before it.

    Args:
        folder: The folder of the run.

    Returns:
        The file, what it holds, and a sentence on a damaged one that was left out, if any.

    Raises:
        UserError: If there is none, or all are damaged.
    """
    files = [folder / CHECKPOINTS / name for name in (LAST, PREVIOUS)]
    present = [file for file in files if file.exists()]
    if not present:
        raise UserError(
            f"There is nothing to go on from in '{folder}': the run was stopped before its first "
            f"checkpoint. Begin it again with --config {folder / 'config.yaml'}."
        )
    damaged: list[str] = []
    for file in present:
        try:
            return file, read_checkpoint(file), " ".join(damaged)
        except UserError as error:
            damaged.append(str(error))
    raise UserError(
        f"{' '.join(damaged)} Begin the run again with --config {folder / 'config.yaml'}."
    )


def check_hparams(path: Any) -> dict[str, Any]:
    """Refuse a checkpoint that says itself what to make of it, as LightningCLI's do.

    Returns:
        What it holds.

    Raises:
        UserError: If it does. Nothing that it names was imported.
    """
    content = read_checkpoint(path)
    hparams = content.get("hyper_parameters") or {}
    _check_version(content, path)
    for key in ("_class_path", "_instantiator"):
        if key in hparams:
            raise UserError(
                f"The checkpoint '{path}' says itself what to make of it ({key}): not loaded."
            )
    return content


def _check_version(content: dict[str, Any], path: Any) -> None:
    try:
        known = re.fullmatch(VERSION, content["pytorch-lightning_version"])
    except (KeyError, TypeError):
        known = None
    if not known:
        raise UserError(f"'{path}' does not say by which version of Lightning it was made.")


def check_paths(content: dict[str, Any], path: Path) -> None:
    """Refuse a checkpoint whose callbacks name files anywhere: Lightning deletes older ones.

    Or one that says not by which version of Lightning it was written.

    Args:
        content: What the checkpoint holds.
        path: Where it is, for the error.

    Raises:
        UserError: If a file is not in the folder of its callback.
    """
    _check_version(content, path)
    for state in (content.get("callbacks") or {}).values():
        if not isinstance(state, dict):
            continue
        folder = str(state.get("dirpath") or "")
        files = [state.get(key) for key in ("kth_best_model_path", "last_model_path")]
        best = state.get("best_k_models") or {}
        for file in filter(None, [*files, *(best if isinstance(best, dict) else [best])]):
            if (
                not isinstance(file, str)
                or ".." in Path(file).parts
                or not Path(file).is_relative_to(folder)
            ):
                raise UserError(f"'{path}' is not a checkpoint to go on from: it names '{file}'.")
