"""The checkpoint of the best epoch."""

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_only


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
