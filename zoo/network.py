"""Network: what every network of the zoo is, before it is asked to learn anything."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from zoo import preprocessing as preprocessing_room
from zoo.errors import UserError
from zoo.freezing import keep_frozen_layers_in_evaluation, matching
from zoo.initialisation import InitName, initialise
from zoo.tasks import TaskName, build_task


class Network(LightningModule):
    """A backbone and a head, with its task and its way of reading raw input.

    Shape: a raw batch (N, *input_shape) -> logits (N, num_outputs), or values for regression.

    Args:
        input_shape: Shape of one raw example; a list or dictionary of shapes if an example is
            several tensors. Follows the data.
        task: `binary`, `multiclass` or `regression`. Follows the data.
        num_outputs: Values that the head gives. Follows the data.
        class_names: Names of the classes, in the order of the targets. Follows the data.
        preprocessing: How raw input becomes numbers, as plain JSON. Follows the data.
        init: Initialisation of all weights; each layer's own if `default`.
        freeze: Names of parameters that do not learn: `backbone`, or patterns such as
            `backbone.0.*`.
    """

    backbone: nn.Module
    head: nn.Module

    def __init__(
        self,
        input_shape: preprocessing_room.InputShape = (1, 28, 28),
        task: TaskName = "multiclass",
        num_outputs: int = 10,
        class_names: list[str] | None = None,
        preprocessing: dict[str, Any] | None = None,
        init: InitName = "default",
        freeze: list[str] | None = None,
    ) -> None:
        super().__init__()
        preprocessing = preprocessing or {"kind": "none"}
        self.save_hyperparameters()
        input_shape = plain_shape(input_shape)
        self.hparams.update(input_shape=input_shape, preprocessing=preprocessing)
        self.preprocess = preprocessing_room.build(preprocessing, input_shape)
        target = preprocessing.get("target") or {}
        self.register_buffer("target_mean", as_buffer(target.get("mean")))
        self.register_buffer("target_std", as_buffer(target.get("std")))
        self._set_task(task, num_outputs, class_names)
        #: How the inputs of the last batch with targets were nested, if they were several.
        self._input_structure: Any = None

    @property
    def example_input_array(self) -> Any:
        """Two raw examples, for drawing the graph and for export."""
        example = preprocessing_room.example_input(
            self.hparams["preprocessing"], self.hparams["input_shape"]
        )
        return move_data_to_device(example, self.device)

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one example as the backbone reads it."""
        return self.preprocess.output_shape

    def finish(self) -> None:
        """Initialise and freeze, now that all layers are there."""
        initialise(self, self.hparams["init"])
        if self.hparams["freeze"]:
            self.freeze(*self.hparams["freeze"])

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
        self.target_mean = self.target_std = None
        described = {k: v for k, v in self.hparams["preprocessing"].items() if k != "target"}
        self.hparams.update(preprocessing=described)
        self._set_task(task, num_outputs, class_names)

    def _set_task(self, task: TaskName, num_outputs: int, class_names: list[str] | None) -> None:
        if class_names is None:
            count = {"binary": 2, "multiclass": num_outputs, "regression": 0}[task]
            class_names = [str(i) for i in range(count)]
        self.hparams.update(task=task, num_outputs=num_outputs, class_names=class_names)
        self.class_names = class_names
        self.task = build_task(task)

    def _in_own_units(self, outputs: Tensor) -> Tensor:
        return outputs if self.target_std is None else outputs * self.target_std + self.target_mean

    def predict_step(self, batch: Any, batch_idx: int = 0) -> dict[str, Any]:
        """Return `prediction` (class names, or values) and `probabilities` (N, classes).

        Args:
            batch: The inputs, or inputs and targets, as `inputs_of` tells them apart.
            batch_idx: Not used.
        """
        return self.task.predict(self(self.inputs_of(batch)), self.class_names)

    def inputs_of(self, batch: Any) -> Any:
        """Return what the network reads of a batch: all of it but the targets, if it has any.

        A batch is what the network reads (a tensor, or a tuple, list or dictionary of them), or a
        list of that alone, or a pair of that and targets. Pairs that could be either are told apart
        by what the network reads: as its `example_input_array` (so its `input_shape`) or the
        batches that it was trained on are nested. One that is not known to read several tensors is
        given the first of two if the second looks like its task's targets, and else both.
        """
        if not isinstance(batch, (tuple, list)):
            return batch
        known = self._input_structure or preprocessing_room.structure(self.example_input_array)
        if preprocessing_room.structure(batch) == known:
            return batch
        if len(batch) == 1:
            return batch[0]
        if len(batch) != 2:
            return batch
        inputs, rest = batch
        if known is None:
            has_targets = self._look_like_targets(rest)
        else:
            has_targets = preprocessing_room.structure(inputs) == known
        return inputs if has_targets else batch

    def _look_like_targets(self, values: Any) -> bool:
        if not isinstance(values, Tensor):  # such as names of classes; but tensors are inputs
            parts = values.values() if isinstance(values, dict) else values or ()
            return not any(isinstance(part, Tensor) for part in parts)
        columns = {"binary": 1, "regression": self.hparams["num_outputs"]}
        return values.ndim == 1 or (
            values.ndim == 2 and values.shape[1] == columns.get(self.hparams["task"])
        )

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
        """Remember what is frozen."""
        checkpoint["frozen"] = self.frozen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Freeze what was frozen when the checkpoint was written, and nothing else."""
        frozen = set(checkpoint.get("frozen", ()))
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self.train(self.training)


def plain_shape(shape: Any) -> Any:
    """Return a shape, or several in lists or dictionaries, as lists: as JSON has them."""
    if isinstance(shape, dict):
        return {name: plain_shape(part) for name, part in shape.items()}
    return [plain_shape(part) for part in shape] if isinstance(shape, (tuple, list)) else shape


def as_buffer(values: list[float] | None) -> Tensor | None:
    """Return numbers as a tensor to register as a buffer, or None."""
    return None if values is None else torch.tensor(values, dtype=torch.get_default_dtype())
