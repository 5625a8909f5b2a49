"""ZooModule: the one LightningModule that every architecture extends."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection

from datamodules.spec import DataSpec, Task
from zoo.deployment.publish import push
from zoo.distillation import Distillation
from zoo.errors import UserError
from zoo.freezing import matching
from zoo.guarded import GuardedNetwork
from zoo.learning import DEFAULT_LOSS, Learning
from zoo.loading.restoring import check_before, check_optimizer
from zoo.losses import build_loss
from zoo.network import as_buffer
from zoo.optimization import (
    add_groups,
    build_optimizer,
    build_scheduler,
    check_schedule,
    may_fuse,
    parameter_groups,
)
from zoo.preprocessing import structure
from zoo.train_sums import TrainSums, metrics_of, share_of_processes
from zoo.weights import load_weights, save_weights

EVALUATION_SPLITS = ("val", "test")
PLAIN = (str, type(None), int, bool)


class ZooModule(GuardedNetwork):
    """A network that learns: its loss, its metrics and its optimizer.

    An architecture sets `self.backbone` and `self.head`, whatever they are made of; the rest is
    here and in `Network`. How it learns is an object of its own, that `learn` takes; until then it
    learns with its task's default loss and Adam.

    Args:
        spec: The data that it is for, as `datamodule.spec` gives them.
    """

    def __init__(self, spec: DataSpec | Mapping[str, Any]) -> None:
        super().__init__(spec)
        self.learning = Learning()
        self.register_buffer("class_weights", None, persistent=False)
        self._distillation: Distillation | None = None
        self.train_sums = TrainSums()
        self._going_on_from: dict[str, Any] | None = None  # until its optimizer is made
        self._outputs: dict[str, list[tuple[Tensor, Tensor]]] = {s: [] for s in EVALUATION_SPLITS}

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a plain one at once.

        Lightning sets some 40 of them in a step. torch looks at each of them whether it is a
        parameter, a buffer or a layer: 0.95 microseconds for one, here 0.19.
        """
        if type(value) in PLAIN and name in self.__dict__:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def learn(self, learning: Learning | Mapping[str, Any]) -> Self:
        """Say how the network learns from here on: its loss, what is frozen, who teaches it.

        `learning.init` is for a new network and is applied where that is made: here it would
        overwrite weights.

        Raises:
            DoesNotFitData: If the loss or the teacher are for other data.
            UserError: If a pattern of `freeze` matches nothing, or there is no such teacher.
        """
        learning = Learning.of(learning)
        learning.check_task(self.spec.task)
        check_schedule(learning.lr_scheduler or {})
        if learning.class_weights and len(learning.class_weights) != len(self.class_names):
            raise UserError(
                f"--learning.class_weights has {len(learning.class_weights)} weights for "
                f"{len(self.class_names)} classes."
            )
        self._distillation = Distillation(self, learning) if learning.teacher else None
        self.class_weights = as_buffer(learning.class_weights)
        self.learning = learning
        return self.freeze(*learning.freeze) if learning.freeze else self

    def reset_head(
        self, num_classes: int, class_names: list[str] | None = None, task: Task | None = None
    ) -> None:
        """Replace the head by a new, untrained one, as `Network.reset_head` says.

        Class weights and a teacher were the old classes'; the loss of another task is that task's
        default one.
        """
        before = self.spec.task
        super().reset_head(num_classes, class_names, task)
        self.class_weights = None
        self._distillation = None
        self.learning = self.learning.without_classes()
        if self.spec.task != before:
            self.learning = replace(self.learning, **DEFAULT_LOSS)

    def _set_spec(self, spec: DataSpec) -> None:
        super()._set_spec(spec)
        # Metrics are state of a run, not of the network: in a dict they stay out of its weights.
        self._metrics: dict[str, tuple[MeanMetric, MetricCollection]] = {}

    # Optimization

    def configure_optimizers(self) -> Any:
        """Build the recipe's optimizer over the trainable parameters, and its schedule."""
        spec = self.learning.optimizer or {"class_path": "torch.optim.Adam"}
        # What an unfreezing adds later has groups of its own, so a resume after it finds as many.
        groups = self._groups(scheduled=False) + self._groups(scheduled=True)
        if not groups:
            raise UserError("Every parameter is frozen: nothing would learn. Freeze fewer.")
        optimizer = build_optimizer(spec, groups, fuse=may_fuse(self._trainer, self.device))
        schedule: dict[str, Any] = {}
        if self.learning.lr_scheduler:
            steps = self.trainer.estimated_stepping_batches  # infinite if nothing ends the training
            limit = self.trainer.max_epochs
            epochs = math.inf if limit is None or limit < 0 else limit
            schedule = build_scheduler(self.learning.lr_scheduler, optimizer, steps, epochs)
        going_on_from, self._going_on_from = self._going_on_from, None
        if going_on_from:
            check_optimizer(going_on_from, optimizer, schedule.get("scheduler"))
        return {"optimizer": optimizer, "lr_scheduler": schedule} if schedule else optimizer

    def _in_schedule(self) -> set[str]:
        """Return the names of the parameters that an unfreezing is planned for."""
        if self.learning.unfreeze_at_epoch is None:
            return set()
        return set().union(*(matching(self, self.head, p) for p in self.learning.freeze or ()))

    def _groups(self, scheduled: bool) -> list[dict[str, Any]]:
        """Return groups of the trainable parameters inside or outside the unfreezing schedule."""
        in_schedule = self._in_schedule()
        chosen = [
            (name, p)
            for name, p in self.named_parameters()
            if p.requires_grad and (name in in_schedule) == scheduled
        ]
        return parameter_groups(self, self.head, chosen, self.learning)

    def on_fit_start(self) -> None:
        """Set training mode, as Lightning does not: loaded weights come in evaluation mode.

        What was fitted to the weights as they were is of no use for what they will be.
        """
        self.calibration = self.decision = None
        self.train()

    def on_train_start(self) -> None:
        """Take the teacher along to the device, and pick up what a training that goes on needs.

        Lightning calls no epoch's hook for an epoch that was cut off.
        """
        super().on_train_start()
        if self._distillation is not None:
            self._distillation.to(self.device)
        self._unfreeze_when_due()

    def on_train_epoch_start(self) -> None:
        """Begin new sums, and unfreeze if this is the epoch for it."""
        self.train_sums.go_on_from(None)  # an exception may have cut off the end of the one before
        self._unfreeze_when_due()

    def _unfreeze_when_due(self) -> None:
        due = self.learning.unfreeze_at_epoch
        if due is None or self.current_epoch < due or not self._in_schedule() & {*self.frozen}:
            return
        self.unfreeze(*(self.learning.freeze or ()))
        add_groups(
            self.trainer.optimizers[0],
            self._groups(scheduled=True),
            [config.scheduler for config in self.trainer.lr_scheduler_configs],
        )

    # Training and evaluation

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of a batch.

        A regression is compared in standardised units; labels are smoothed in training alone.
        """
        if self.target_std is not None:
            target = (target.reshape(logits.shape) - self.target_mean) / self.target_std
        compare = build_loss(
            self.spec.task, self.learning, class_weights=self.class_weights, smooth=self.training
        )
        return compare(logits, target)

    def penalty(self) -> Tensor:
        """Return the L1 and L2 penalties: factors times the norms of all weights as one vector."""
        weights = torch.cat([p.flatten() for n, p in self.named_parameters() if p.ndim > 1])
        l1, l2 = (torch.linalg.vector_norm(weights, order) for order in (1, 2))
        return self.learning.l1_penalty * l1 + self.learning.l2_penalty * l2

    def _answer(self, batch: tuple[Any, Tensor]) -> tuple[Any, Tensor, Tensor]:
        """Return inputs, targets and logits of a batch with targets."""
        x, target = batch
        self._input_structure = structure(x)
        return x, target, self.logits(x)

    def training_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch; its sums are counted now and then."""
        x, target, logits = self._answer(batch)
        loss = self.loss(logits, target)
        if self._distillation is not None:
            weights = None if self.class_weights is None else self.class_weights[target]
            loss = self._distillation(x, logits, loss, weights)
        if self.learning.l1_penalty or self.learning.l2_penalty:
            loss = loss + self.penalty()
        self.train_sums.add(loss, logits, target, self.task)
        share = share_of_processes(self._trainer, len(target), self.device)
        return loss if share == 1.0 else loss * share

    def on_train_epoch_end(self) -> None:
        """Log the mean loss and accuracy of the epoch's batches, as they were while learning."""
        self.log_dict(metrics_of(self.train_sums.of_all(self.task, self._trainer), self.task))
        self.train_sums.go_on_from(None)

    def validation_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> None:
        """Keep a batch's logits and targets until the epoch ends."""
        _, target, logits = self._answer(batch)
        self._outputs["val"].append((logits, target))

    def test_step(self, batch: tuple[Any, Tensor], batch_idx: int) -> None:
        """Keep a batch's logits and targets until the end."""
        _, target, logits = self._answer(batch)
        self._outputs["test"].append((logits, target))

    def on_validation_epoch_end(self) -> None:
        """Log the loss and the metrics of the validation split."""
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Log the loss and the metrics of the test split."""
        self._log_evaluation("test")

    def predictions(self, split: str) -> tuple[Tensor, Tensor] | None:
        """Return this process's predictions and targets of `val` or `test`, as metrics read them.

        They are there until the split's epoch has ended: for `on_test_epoch_end` of a callback.
        """
        if not self._outputs[split]:
            return None
        logits, target = (torch.cat(parts) for parts in zip(*self._outputs[split], strict=True))
        return self._metric_inputs(logits, target)

    def _metric_inputs(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.task.metric_inputs(self.calibrated(self._in_own_units(logits)), target)

    def _log_evaluation(self, split: str) -> None:
        outputs, self._outputs[split] = self._outputs[split], []
        if not outputs:
            return
        logits = torch.cat([logits for logits, _ in outputs])
        target = torch.cat([target for _, target in outputs])
        if split not in self._metrics:  # 3 ms, so not for a network that is never evaluated
            self._metrics[split] = MeanMetric(), self.task.metrics(self.num_outputs)
        mean_loss, metrics = self._metrics[split]
        mean_loss.to(logits.device)
        metrics.to(logits.device)
        mean_loss.update(self.loss(logits, target).float(), len(target))
        metrics.update(*self._metric_inputs(logits, target))
        values = {"loss": mean_loss.compute(), **self.task.compute(metrics)}
        mean_loss.reset()
        metrics.reset()
        self.log_dict({f"{name}/{split}": value for name, value in values.items()})

    # Weights

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, trust: Iterable[str | type] = (), **overrides: Any
    ) -> Self:
        """Make the network whose weights the zoo ships, or that a run or file holds.

        Args:
            name: A name of `zoo.list_models(pretrained=True)`, a run directory or a file.
            trust: Further classes of your own that the file may name; this one it may.
            overrides: Arguments of the network to change.

        Raises:
            UserError: If it is a network of another class.
        """
        trust = [trust] if isinstance(trust, (str, type)) else trust
        model = load_weights(name, trust=[cls, *trust], **overrides)
        if not isinstance(model, cls):
            raise UserError(f"{name} is a {type(model).__name__}, not a {cls.__name__}.")
        return model

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `weights.safetensors` and its card into a folder, for `zoo.load_weights`."""
        save_weights(self, Path(folder) / "weights.safetensors")

    def push_to_hub(
        self, repository: str, *, private: bool = False, token: str | None = None
    ) -> str:
        """Upload weights, card and a page made from it to the Hugging Face Hub.

        Others then load them with `zoo.load_weights("hf-hub:user/name")`. The card is the one that
        the network was loaded or saved with; metrics of other weights than these are left out.

        Args:
            repository: `user/name`; it is made if it does not exist.
            private: Make it for you alone.
            token: A token of the hub; by default the one of `hf auth login`.

        Returns:
            The address of its page.

        Raises:
            UserError: If the extra `hub` is missing, or the hub cannot be reached or refuses.
        """
        return push(self, repository, private=private, token=token)

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember what is frozen, and the sums of an epoch that is cut off."""
        super().on_save_checkpoint(checkpoint)
        sums = self.train_sums.of_all(self.task, self._trainer)
        checkpoint["train_sums"] = None if sums is None else torch.tensor(sums, dtype=torch.float64)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up what is frozen, and in a training that goes on the sums of its epoch."""
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            check_before(checkpoint, self.trainer)
            self._going_on_from = checkpoint
        super().on_load_checkpoint(checkpoint)
        if self._trainer is not None:
            sums = checkpoint.get("train_sums")  # of all processes: the first one's from here on
            self.train_sums.go_on_from(sums if self.trainer.is_global_zero else None)
