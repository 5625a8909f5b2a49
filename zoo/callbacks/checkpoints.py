"""Checkpoints: the best epoch's, and whether one can be gone on from."""

import io
from pathlib import Path
from typing import Any, TypedDict

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from datamodules.files import atomic_write, copy_file
from datamodules.plain import misfit
from zoo.errors import UserError
from zoo.loading.building import describe_mismatch
from zoo.loading.checkpoints import check_paths, read_checkpoint
from zoo.loading.restoring import refuse
from zoo.module import ZooModule
from zoo.optimization import build_optimizer
from zoo.run_folder import LAST, PREVIOUS


class OptimizerState(TypedDict):
    """What of an optimizer's state is looked at."""

    param_groups: list[dict[str, Any]]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints that are there whole or not at all, and keep the last but one.

    Lightning writes into the folder for temporary files, and where that is on another disk copies
    from there over the old checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; what stood under the name of the last one becomes the one before."""
        if "://" in str(path):  # another file system than this machine's
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)

        def keep() -> None:
            if path.name == LAST and path.exists():
                path.replace(path.with_name(PREVIOUS))

        with atomic_write(path, before_rename=keep) as file:
            file.write(content.getbuffer())


class KeepBest(ModelCheckpoint):
    """Keeps the best epoch of a training, also of one that goes on in another folder.

    Lightning forgets the best score when the folder is another one, and the first validation after
    that would be the best so far, however bad.

    A checkpoint is data: of the paths in it only the file's name counts, for a file beside it.
    """

    _go_on_from: Path | None = None

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take note which checkpoint the training goes on from; its state is loaded next."""
        self._go_on_from = Path(str(trainer.ckpt_path)).resolve().parent
        self._expected = pl_module.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint, with a copy of the best one so far.

        Raises:
            UserError: If the best one is no checkpoint of this network.
        """
        score = state_dict.get("best_model_score")
        best = self._beside(state_dict.get("best_model_path"))
        if score is None or best is None:
            return  # the best is yet to come
        copy = Path(str(self.dirpath)) / best.name
        if copy.resolve() != best:
            rank_zero_only(copy_file)(best, copy)
        moved = {
            "dirpath": self.dirpath,
            "best_model_path": str(copy),
            "kth_best_model_path": str(copy),
            "best_k_models": {str(copy): score},
            "last_model_path": "",
        }
        state_dict = {"current_score": score, "kth_value": score, **state_dict}
        super().load_state_dict({**state_dict, **moved})

    def _beside(self, path: Any) -> Path | None:
        """Return the checkpoint of that name beside the one that the training goes on from."""
        if self._go_on_from is None or not path or not isinstance(path, str):
            return None
        file = self._go_on_from / Path(path).name
        try:
            if not file.is_file():
                return None
        except OSError:  # a name that is too long
            return None
        fix = "Without it, the training goes on and finds its own best."
        if file.resolve().parent != self._go_on_from:
            raise UserError(f"'{file}' is a link to another folder, and not taken. {fix}")
        if mismatch := describe_mismatch(self._expected, read_checkpoint(file)["state_dict"]):
            raise UserError(f"'{file}' is not of this network: {mismatch} {fix}")
        return file


def check_checkpoint(path: Path, model: ZooModule) -> None:
    """Refuse what is no checkpoint of a run, or one of another network.

    Raises:
        UserError: If training cannot go on from it. Nothing in it is executed.
    """
    content = read_checkpoint(path)
    check_paths(content, path)
    if mismatch := describe_mismatch(model.state_dict(), content["state_dict"]):
        raise UserError(f"'{path}' does not fit {type(model).__name__}: {mismatch}")
    optimizer = model.learning.optimizer
    states = content.get("optimizer_states")
    if optimizer and states:
        dummy = {"params": [torch.nn.Parameter(torch.zeros(1))]}
        needed = build_optimizer(optimizer, [dummy]).param_groups[0].keys()
        refuse(misfit(states, list[OptimizerState], "optimizer_states"))
        groups = states[0]["param_groups"]
        if missing := needed - (groups[0].keys() if groups else set()):
            raise UserError(
                f"'{path}' was written with another optimizer than {optimizer['class_path']}: it "
                f"has no {', '.join(sorted(missing))}. Go on with the optimizer it was begun with."
            )
