"""A training whose numbers are none any more stops, and says where that began."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from zoo.errors import NotFiniteError

FIX = (
    "Try a lower learning rate (--lr), clip the gradients (--trainer.gradient_clip_val 1), or look "
    "for extreme values in the data."
)


class StopWhenNotFinite(Callback):
    """Stop at the first loss that is infinite or no number, before its gradients reach the weights.

    On a CPU every loss is looked at: that costs a microsecond. A GPU would have to be waited for,
    and other processes too, so their losses are kept and looked at together every
    `log_every_n_steps` steps. A gradient that is not finite while its loss is shows in the weights:
    they are looked at before every validation and every checkpoint, and in the next loss.

    Gradients that a GradScaler finds infinite are no failure: it leaves that update out.
    """

    def __init__(self) -> None:
        self._at_once = True
        self._batch: tuple[Any, int] = (None, 0)
        self._losses: list[tuple[int, Tensor]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find out whether looking at every loss is cheap."""
        on_cpu = pl_module.device.type == "cpu"
        self._at_once = on_cpu and trainer.world_size == 1
        self._losses = []

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the batch: its way through the layers shows which one fails."""
        self._batch = batch, batch_idx

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Look at the loss, where that is cheap."""
        if self._at_once and not math.isfinite(value := loss.item()):
            self._stop(trainer, pl_module, trainer.global_step + 1, value)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Keep the loss for later, where looking at it is not cheap."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if self._at_once or loss is None:
            return
        self._losses.append((trainer.global_step, loss))
        if len(self._losses) >= max(trainer.log_every_n_steps, 1):  # type: ignore[attr-defined]
            self._look_at_losses(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate no weights that are no numbers."""
        self._look_at_everything(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let no checkpoint of them be written."""
        self._look_at_everything(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let no training end with them; what is kept of it is let go."""
        self._look_at_everything(trainer, pl_module)
        self._batch = None, 0

    def _look_at_everything(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.global_step or not (trainer.training or trainer.validating):
            return
        self._look_at_losses(trainer, pl_module)
        if not all_finite(pl_module):
            self._stop(trainer, pl_module, trainer.global_step, None)

    def _look_at_losses(self, trainer: Trainer, pl_module: LightningModule) -> None:
        losses, self._losses = self._losses, []
        if not losses:
            return
        values = torch.stack([loss.detach().float() for _, loss in losses])
        failed = int((~values.isfinite()).nonzero()[:1].sum()) if not _finite(values) else -1
        if not trainer.strategy.reduce_boolean_decision(failed < 0, all=True):
            step = losses[max(failed, 0)][0]
            self._stop(trainer, pl_module, step, float(values[failed]) if failed >= 0 else None)

    def _stop(
        self, trainer: Trainer, pl_module: LightningModule, step: int, loss: float | None
    ) -> None:
        names = [n for n, p in pl_module.named_parameters() if not _finite(p.detach())]
        if names:
            layer = names[0].rpartition(".")[0]
            where = f"the weights of {_described(pl_module, layer)} are not finite"
            if self._at_once:  # this loss is the first; the weights are of the update before
                step = trainer.global_step
                where += " after it: its gradient was not"
        elif failing := self._failing_layer(trainer, pl_module):
            where = f"{_described(pl_module, failing)} is the first layer to give such numbers"
        else:
            where = "all layers give finite numbers, the loss makes none of them"
        what = f"the loss is {loss:g}, and " if loss is not None else ""
        rates = {f"{group['lr']:g}" for o in trainer.optimizers for group in o.param_groups}
        raise NotFiniteError(
            f"The training failed in step {step}: {what}{where}. The learning rate was "
            f"{' and '.join(sorted(rates))}. {FIX}"
        )

    @torch.no_grad()
    def _failing_layer(self, trainer: Trainer, pl_module: LightningModule) -> str | None:
        """Send the batch through the network again, and return the first layer that fails."""
        batch, batch_idx = self._batch
        failing: list[str] = []

        def watch(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, outputs: Any) -> None:
                if not failing and not all(map(_finite, _tensors(outputs))):
                    failing.append(name)

            return hook

        handles = [
            module.register_forward_hook(watch(name))
            for name, module in pl_module.named_modules()
            if name and not any(True for _ in module.children())
        ]
        try:
            with trainer.precision_plugin.train_step_context():
                pl_module.training_step(batch, batch_idx)
        finally:
            for handle in handles:
                handle.remove()
        return failing[0] if failing else None


def all_finite(module: nn.Module) -> bool:
    """Return whether all parameters are numbers, waiting once for the device."""
    return bool(torch.stack([p.detach().isfinite().all() for p in module.parameters()]).all())


def _finite(values: Tensor) -> bool:
    return bool(values.isfinite().all())


def _tensors(outputs: Any) -> list[Tensor]:
    """Return the tensors that a layer gives: an LSTM gives several, nested."""
    if isinstance(outputs, Tensor):
        return [outputs]
    if isinstance(outputs, (tuple, list)):
        return [tensor for part in outputs for tensor in _tensors(part)]
    return []


def _described(module: nn.Module, name: str) -> str:
    return f"'{name}' ({type(module.get_submodule(name)).__name__})"
