"""The validation loss as it is once the network's temperature is fitted."""

from typing import Any, cast

import torch
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from zoo.fitted.calibration import calibrated_nll
from zoo.module import ZooModule

#: What is logged, after every epoch's validation.
CALIBRATED_LOSS = "calibrated_loss/val"


class CalibratedNLL(Metric):
    """The negative log-likelihood at the temperature that is the best for these examples.

    Of probabilities (N,) of a binary network or (N, classes), and classes (N,).
    """

    full_state_update = False
    logits: list[Tensor]
    target: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("logits", default=[], dist_reduce_fx="cat")
        self.add_state("target", default=[], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, target: Tensor) -> None:
        """Take further examples."""
        tiny = torch.finfo(probabilities.dtype).tiny
        if probabilities.ndim == 1:
            logits = torch.logit(probabilities, eps=torch.finfo(probabilities.dtype).eps)[:, None]
        else:
            logits = probabilities.clamp(min=tiny).log()
        self.logits.append(logits)
        self.target.append(target)

    def compute(self) -> Tensor:
        """Return it, over all examples and processes."""
        logits, target = dim_zero_cat(self.logits), dim_zero_cat(self.target)
        return torch.tensor(calibrated_nll(logits, target), dtype=torch.float32)


class CalibratedLoss(Callback):
    """Logs what a classifier's validation loss would be, were its temperature fitted by now.

    On few rows it tells which epoch is the best. The plain loss rises as soon as some answers are
    too sure, while the classes are still told apart better; that they are too sure is mended at the
    end, by the temperature (E. Berta et al., 2025, "Rethinking Early Stopping: Refine, Then
    Calibrate").
    """

    def __init__(self) -> None:
        self._nll = CalibratedNLL()

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log it, while training: what is measured at the end has a calibration of its own."""
        model = cast(ZooModule, pl_module)
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if model.spec.task == "regression" or (found := model.predictions("val")) is None:
            return
        self._nll.to(found[0].device)
        self._nll.update(*found)
        model.log(CALIBRATED_LOSS, self._nll.compute())
        self._nll.reset()
