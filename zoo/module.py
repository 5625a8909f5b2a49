"""ZooModule: the one LightningModule that every architecture extends."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import MeanMetric

from zoo import preprocessing as preprocessing_room
from zoo.errors import UserError
from zoo.freezing import keep_frozen_layers_in_evaluation, matching
from zoo.initialisation import InitName, initialise
from zoo.losses import USUAL_LOSS, LossFunction, LossName, OutputActivation, build_loss
from zoo.optimization import add_groups, build_optimizer, build_scheduler, parameter_groups
from zoo.tasks import build_task

TaskName = Literal["binary", "multiclass", "regression"]
EVALUATION_SPLITS = ("val", "test")


class ZooModule(LightningModule):
    """A network with its task, its way of reading raw input, its loss, metrics and optimizer.

    An architecture sets `self.backbone` and `self.head`, whatever they are made of, and calls
    `self.finish()` as the last line of its `__init__`. The rest is here.

    Shape: a raw batch (N, *input_shape) -> logits (N, num_outputs), or values for regression.

    Args:
        input_shape: Shape of one raw example. Follows the data.
        task: `binary`, `multiclass` or `regression`. Follows the data.
        num_outputs: Values that the head gives. Follows the data.
        class_names: Names of the classes, in the order of the targets. Follows the data.
        preprocessing: How raw input becomes numbers, as plain JSON. Follows the data.
        class_weights: A weight for each class in the loss. Follows the data.
        loss: The loss; the task's usual one if not given.
        output_activation: What the losses mse and l1 compare with the target: the outputs as they
            are, their sigmoid or their softmax.
        label_smoothing: Share of the probability that cross_entropy spreads over all classes.
        l1_penalty: Factor of the L1 norm of all weights, added to the training loss.
        l2_penalty: Factor of the L2 norm (not squared) of all weights, added to the training loss.
        init: Initialisation of all weights; each layer's own if `default`.
        freeze: Names of parameters that do not learn: `backbone`, or patterns such as
            `backbone.0.*`.
        unfreeze_at_epoch: Epoch before which `freeze` holds; for the whole training if not given.
        head_lr: Learning rate of the head; the optimizer's if not given.
        layer_decay: Factor from each layer's learning rate to that of the layer below.
        optimizer: Class path and arguments of the optimizer, as a recipe has them.
        lr_scheduler: Class path and arguments of the learning rate's schedule.
    """

    backbone: nn.Module
    head: nn.Module

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        task: TaskName = "multiclass",
        num_outputs: int = 10,
        class_names: list[str] | None = None,
        preprocessing: dict[str, Any] | None = None,
        class_weights: list[float] | None = None,
        loss: LossName | None = None,
        output_activation: OutputActivation = "none",
        label_smoothing: float = 0.0,
        l1_penalty: float = 0.0,
        l2_penalty: float = 0.0,
        init: InitName = "default",
        freeze: list[str] | None = None,
        unfreeze_at_epoch: int | None = None,
        head_lr: float | None = None,
        layer_decay: float | None = None,
        optimizer: dict[str, Any] | None = None,
        lr_scheduler: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        input_shape = list(input_shape)
        preprocessing = preprocessing or {"kind": "none"}
        self.save_hyperparameters()
        self.preprocess = preprocessing_room.build(preprocessing, input_shape)
        target = preprocessing.get("target") or {}
        self.register_buffer("target_mean", _buffer(target.get("mean")))
        self.register_buffer("target_std", _buffer(target.get("std")))
        self.register_buffer("class_weights", _buffer(class_weights))
        self._set_task(task, num_outputs, class_names)
        self._build_loss()  # a loss that does not fit is refused now, not in the first step
        self._train_sums: Tensor | None = None
        self._outputs: dict[str, list[tuple[Tensor, Tensor]]] = {s: [] for s in EVALUATION_SPLITS}

    @property
    def example_input_array(self) -> Tensor:
        """Two raw examples, for drawing the graph and for export."""
        example = preprocessing_room.example_input(
            self.hparams["preprocessing"], self.hparams["input_shape"]
        )
        return example.to(self.device)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one example as the backbone reads it."""
        return self.preprocess.output_shape

    def finish(self) -> None:
        """Initialise and freeze, now that all layers are there."""
        initialise(self, self.hparams["init"])
        if self.hparams["freeze"]:
            self.freeze(*self.hparams["freeze"])
        elif self.hparams["unfreeze_at_epoch"] is not None:
            raise UserError("unfreeze_at_epoch needs freeze, such as freeze=['backbone'].")

    # The network and its head

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, num_outputs) of a raw batch; for regression, values in own units."""
        return self._in_own_units(self.logits(x))

    def logits(self, x: Tensor) -> Tensor:
        """Return what the head gives, before a regression is scaled to its own units."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the features (N, ...) that the head reads."""
        return self.backbone(self.preprocess(x))

    def forward_head(self, features: Tensor) -> Tensor:
        """Return the head's outputs (N, num_outputs) for features."""
        return self.head(features)

    def make_head(self, num_outputs: int) -> nn.Module:
        """Build a new head; an architecture with another head than one Linear overrides it."""
        return nn.Linear(self.head.in_features, num_outputs, bias=self.head.bias is not None)

    def get_head(self) -> nn.Module:
        """Return the head: the last layer, the one that `reset_head` replaces."""
        return self.head

    def reset_head(
        self,
        num_classes: int,
        class_names: list[str] | None = None,
        task: TaskName | None = None,
    ) -> None:
        """Replace the head by a new, untrained one.

        Args:
            num_classes: Classes of the new task, or numbers to predict if it is a regression.
            class_names: Their names.
            task: The new task. By default it stays what it is, but more than one class make a
                binary network multiclass.
        """
        if num_classes < 1:
            raise UserError(f"A head needs at least one output, not {num_classes}.")
        if task is None:
            task = self.hparams["task"]
            if task == "binary" and num_classes > 1:
                task = "multiclass"
        num_outputs = 1 if task == "binary" else num_classes
        num_names = {"binary": 2, "multiclass": num_outputs, "regression": 0}[task]
        if class_names is not None and len(class_names) != num_names:
            raise UserError(f"There are {len(class_names)} names for {num_names} classes.")
        device, dtype = self.device, next(self.parameters()).dtype
        self.head = self.make_head(num_outputs).to(device, dtype)
        self.target_mean = self.target_std = self.class_weights = None
        described = {k: v for k, v in self.hparams["preprocessing"].items() if k != "target"}
        self.hparams.update(preprocessing=described, class_weights=None)
        if task != self.hparams["task"]:  # its loss and output activation were for the old one
            self.hparams.update(USUAL_LOSS)
        self._set_task(task, num_outputs, class_names)

    def _set_task(self, task: TaskName, num_outputs: int, class_names: list[str] | None) -> None:
        if class_names is None:
            count = {"binary": 2, "multiclass": num_outputs, "regression": 0}[task]
            class_names = [str(i) for i in range(count)]
        self.hparams.update(task=task, num_outputs=num_outputs, class_names=class_names)
        self.class_names = class_names
        self.task = build_task(task)
        # Metrics are state of a run, not of the network: in dicts they stay out of its weights.
        self._metrics = {split: self.task.metrics(num_outputs) for split in EVALUATION_SPLITS}
        self._mean_loss = {split: MeanMetric() for split in EVALUATION_SPLITS}

    def _in_own_units(self, outputs: Tensor) -> Tensor:
        return outputs if self.target_std is None else outputs * self.target_std + self.target_mean

    # Freezing

    def freeze(self, *patterns: str) -> Self:
        """Stop the parameters with these names from learning.

        Args:
            patterns: `backbone` for everything but the head, or glob patterns over parameter names
                (`backbone.0.*`).

        Raises:
            UserError: If a pattern matches nothing.
        """
        for pattern in patterns:
            for parameter in matching(self, self.head, pattern).values():
                parameter.requires_grad_(False)
        return self.train(self.training)

    def freeze_backbone(self) -> Self:
        """Let only the head learn."""
        return self.freeze("backbone")

    def unfreeze(self, *patterns: str) -> Self:
        """Let parameters learn again: all of them, or those that match."""
        for pattern in patterns or ("*",):
            for parameter in matching(self, self.head, pattern).values():
                parameter.requires_grad_(True)
        return self.train(self.training)

    @property
    def frozen(self) -> list[str]:
        """The names of the parameters that do not learn."""
        return [name for name, p in self.named_parameters() if not p.requires_grad]

    def train(self, mode: bool = True) -> Self:
        """Set training mode, but keep frozen layers in evaluation mode."""
        super().train(mode)
        if mode and self.frozen:
            keep_frozen_layers_in_evaluation(self, self.head)
        return self

    # Optimisation

    def configure_optimizers(self) -> Any:
        """Build the recipe's optimizer over the trainable parameters, and its schedule."""
        spec = self.hparams["optimizer"] or {"class_path": "torch.optim.Adam"}
        # What an unfreezing adds later has groups of its own, so a resume after it finds as many.
        groups = self._groups(scheduled=False) + self._groups(scheduled=True)
        if not groups:
            raise UserError("Every parameter is frozen: nothing would learn. Freeze fewer.")
        optimizer = build_optimizer(spec, groups)
        if not self.hparams["lr_scheduler"]:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        return {
            "optimizer": optimizer,
            "lr_scheduler": build_scheduler(self.hparams["lr_scheduler"], optimizer, steps),
        }

    def _in_schedule(self) -> set[str]:
        """Return the names of the parameters that an unfreezing is planned for."""
        if self.hparams["unfreeze_at_epoch"] is None:
            return set()
        return set().union(*(matching(self, self.head, p) for p in self.hparams["freeze"]))

    def _groups(self, scheduled: bool) -> list[dict[str, Any]]:
        """Return groups of the trainable parameters inside or outside the unfreezing schedule."""
        in_schedule = self._in_schedule()
        chosen = [
            (name, p)
            for name, p in self.named_parameters()
            if p.requires_grad and (name in in_schedule) == scheduled
        ]
        spec = self.hparams["optimizer"] or {}
        return parameter_groups(
            self,
            self.head,
            chosen,
            spec.get("init_args", {}).get("lr"),
            self.hparams["head_lr"],
            self.hparams["layer_decay"],
        )

    def on_train_start(self) -> None:
        """Pick up what a training that goes on needs: Lightning calls no epoch's hook for it."""
        if self._train_sums is not None:
            self._train_sums = self._train_sums.to(self.device)
        self._unfreeze_when_due()

    def on_train_epoch_start(self) -> None:
        """Unfreeze if this is the epoch for it."""
        self._unfreeze_when_due()

    def _unfreeze_when_due(self) -> None:
        waiting = self._in_schedule().intersection(self.frozen)
        if not waiting or self.current_epoch < self.hparams["unfreeze_at_epoch"]:
            return
        self.unfreeze(*self.hparams["freeze"])
        add_groups(
            self.optimizers(use_pl_optimizer=False),
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
        return self._build_loss()(logits, target)

    def _build_loss(self) -> LossFunction:
        return build_loss(
            self.hparams["task"],
            self.hparams["loss"],
            output_activation=self.hparams["output_activation"],
            label_smoothing=self.hparams["label_smoothing"] if self.training else 0.0,
            class_weights=self.class_weights,
        )

    def penalty(self) -> Tensor:
        """Return the L1 and L2 penalties: factors times the norms of all weights as one vector."""
        weights = torch.cat([p.flatten() for n, p in self.named_parameters() if p.ndim > 1])
        return self.hparams["l1_penalty"] * torch.linalg.vector_norm(weights, 1) + self.hparams[
            "l2_penalty"
        ] * torch.linalg.vector_norm(weights, 2)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch; its sums stay on the device until the epoch ends."""
        x, target = batch
        logits = self.logits(x)
        loss = self.loss(logits, target)
        if self.hparams["l1_penalty"] or self.hparams["l2_penalty"]:
            loss = loss + self.penalty()
        # A self.log here would cost 270 microseconds a step; these sums cost about 20.
        with torch.no_grad():
            correct = self.task.num_correct(logits, target)
            sums = torch.stack(
                [loss * len(x), loss.new_zeros(()) if correct is None else correct.to(loss.dtype)]
            ).double()
            if self._train_sums is None:
                self._train_sums = sums.new_zeros(3)
            self._train_sums[:2] += sums
            self._train_sums[2] += len(x)
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the mean loss and accuracy of the epoch's batches, as they were while learning."""
        if self._train_sums is None:
            return
        loss, correct, count = self.trainer.strategy.reduce(self._train_sums, reduce_op="sum")
        self._train_sums = None
        self.log("loss/train", (loss / count).float())
        if self.hparams["task"] != "regression":
            self.log("accuracy/train", (correct / count).float())

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Keep a batch's logits and targets until the epoch ends."""
        self._outputs["val"].append((self.logits(batch[0]), batch[1]))

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Keep a batch's logits and targets until the end."""
        self._outputs["test"].append((self.logits(batch[0]), batch[1]))

    def on_validation_epoch_end(self) -> None:
        """Log the loss and the metrics of the validation split."""
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Log the loss and the metrics of the test split."""
        self._log_evaluation("test")

    def evaluated(self, split: str) -> tuple[Tensor, Tensor] | None:
        """Return this process's predictions and targets of `val` or `test`, as metrics read them.

        They are there until the split's epoch has ended: for `on_test_epoch_end` of a callback.
        """
        if not self._outputs[split]:
            return None
        logits, target = (torch.cat(parts) for parts in zip(*self._outputs[split], strict=True))
        return self.task.metric_inputs(self._in_own_units(logits), target)

    def _log_evaluation(self, split: str) -> None:
        outputs, self._outputs[split] = self._outputs[split], []
        if not outputs:
            return
        logits = torch.cat([logits for logits, _ in outputs])
        target = torch.cat([target for _, target in outputs])
        mean_loss = self._mean_loss[split].to(logits.device)
        metrics = self._metrics[split].to(logits.device)
        mean_loss.update(self.loss(logits, target).float(), len(target))
        metrics.update(*self.task.metric_inputs(self._in_own_units(logits), target))
        values = {"loss": mean_loss.compute(), **self.task.compute(metrics)}
        mean_loss.reset()
        metrics.reset()
        self.log_dict({f"{name}/{split}": value for name, value in values.items()})

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Return `prediction` (class names, or values) and `probabilities` (N, classes)."""
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        return self.task.predict(self(x), self.class_names)

    # Weights

    @classmethod
    def from_pretrained(cls, name: str, **overrides: Any) -> Self:
        """Make the network whose weights the zoo ships, or that a run or file holds.

        Args:
            name: A name of `zoo.list_models(pretrained=True)`, a run directory or a file.
            overrides: Arguments of the network to change, such as its `optimizer`.

        Raises:
            UserError: If it is a network of another class.
        """
        from zoo.weights import load_weights

        model = load_weights(name, **overrides)
        if not isinstance(model, cls):
            raise UserError(f"{name} is a {type(model).__name__}, not a {cls.__name__}.")
        return model

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `weights.safetensors` and its card into a folder, for `zoo.load_weights`."""
        from zoo.weights import save_weights

        save_weights(self, Path(folder) / "weights.safetensors")

    # Checkpoints

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load parameters, also those saved from a compiled or a DDP-wrapped network."""
        prefixes = ("module.", "_orig_mod.")
        plain = {}
        for name, value in state_dict.items():
            while name.startswith(prefixes):
                name = name.partition(".")[2]
            plain[name] = value
        return super().load_state_dict(plain, *args, **kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember what is frozen, and the sums of an epoch that is cut off."""
        checkpoint["frozen"] = self.frozen
        checkpoint["train_sums"] = self._train_sums

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Freeze what was frozen when the checkpoint was written, and nothing else."""
        frozen = set(checkpoint.get("frozen", ()))
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self.train(self.training)
        if self._trainer is not None:  # going on with a training, not only opening its network
            self._train_sums = checkpoint.get("train_sums")


def _buffer(values: list[float] | None) -> Tensor | None:
    return None if values is None else torch.tensor(values, dtype=torch.get_default_dtype())
