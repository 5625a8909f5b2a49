"""Checkpoints: the best epoch's, and whether one can be gone on from."""

import shutil
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from zoo.errors import UserError
from zoo.module import ZooModule
from zoo.optimization import build_optimizer
from zoo.weights import describe_mismatch


class KeepBest(ModelCheckpoint):
    """Keeps the best epoch of a training, also of one that goes on in another folder.

    Lightning forgets the best score when the folder is another one, and the first validation after
    that would be the best so far, however bad.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint, with a copy of the best one so far."""
        folder, score = state_dict["dirpath"], state_dict["best_model_score"]
        best = Path(state_dict["best_model_path"])
        if folder == self.dirpath or score is None or not best.is_file():
            super().load_state_dict(state_dict)
            return
        copy = Path(self.dirpath) / best.name
        _copy(best, copy)
        moved = {
            "dirpath": self.dirpath,
            "best_model_path": str(copy),
            "kth_best_model_path": str(copy),
            "best_k_models": {str(copy): score},
            "last_model_path": "",
        }
        super().load_state_dict({**state_dict, **moved})


@rank_zero_only
def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def check_checkpoint(path: Path, model: ZooModule) -> None:
    """Refuse what is no checkpoint of a run, or one of another network.

    Raises:
        UserError: If training cannot go on from it. Nothing in it is executed.
    """
    if not path.is_file():
        raise UserError(f"There is no checkpoint '{path}'.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found, _ = content["state_dict"], content["loops"]
    except (OSError, EOFError, KeyError, RuntimeError, TypeError, UnpicklingError) as error:
        raise UserError(f"'{path}' is not a checkpoint of a run, or is damaged.") from error
    if mismatch := describe_mismatch(model.state_dict(), found):
        raise UserError(f"'{path}' does not fit {type(model).__name__}: {mismatch}")
    optimizer = model.learning.optimizer
    states = content.get("optimizer_states")
    if optimizer and states:
        dummy = {"params": [torch.nn.Parameter(torch.zeros(1))]}
        needed = build_optimizer(optimizer, [dummy]).param_groups[0].keys()
        if missing := needed - states[0]["param_groups"][0].keys():
            raise UserError(
                f"'{path}' was written with another optimizer than {optimizer['class_path']}: it "
                f"has no {', '.join(sorted(missing))}. Go on with the optimizer it was begun with."
            )
