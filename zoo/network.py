"""Network: what every network of the zoo is, before it is asked to learn anything."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from datamodules.following import Expected, check, same_encoding
from zoo import preprocessing as preprocessing_room
from zoo.errors import UserError
from zoo.freezing import keep_frozen_layers_in_evaluation, matching
from zoo.initialisation import InitName, initialise
from zoo.tasks import TaskName, build_task


class Network(LightningModule):
    """A backbone and a head, with its task and its way of reading raw input.

    Shape: a raw batch (N, *input_shape) -> logits (N, num_outputs), or values for regression.

    Args:
        input_shape: Shape of one raw example. Follows the data.
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
        input_shape: Sequence[int] = (1, 28, 28),
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
        self.hparams.update(input_shape=list(input_shape), preprocessing=preprocessing)
        self.preprocess = preprocessing_room.build(preprocessing, input_shape)
        target = preprocessing.get("target") or {}
        self.register_buffer("target_mean", as_buffer(target.get("mean")))
        self.register_buffer("target_std", as_buffer(target.get("std")))
        self._set_task(task, num_outputs, class_names)

    @property
    def example_input_array(self) -> Tensor:
        """Two raw examples, for drawing the graph and for export."""
        example = preprocessing_room.example_input(
            self.hparams["preprocessing"], self.hparams["input_shape"]
        )
        return example.to(self.device)

    @property
    def data_arguments(self) -> dict[str, Any]:
        """What kind of data the network was made for; `class_names` is None if it names none."""
        names = ("input_shape", "task", "num_outputs", "class_names", "preprocessing")
        return {name: self.hparams[name] for name in names}

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
        # Classes without names are kept as such: any data with so many of them fit.
        self.hparams.update(task=task, num_outputs=num_outputs, class_names=class_names)
        if class_names is None:
            count = {"binary": 2, "multiclass": num_outputs, "regression": 0}[task]
            class_names = [str(i) for i in range(count)]
        self.class_names = class_names
        self.task = build_task(task)

    def _in_own_units(self, outputs: Tensor) -> Tensor:
        return outputs if self.target_std is None else outputs * self.target_std + self.target_mean

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Return `prediction` (class names, or values) and `probabilities` (N, classes)."""
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        return self.task.predict(self(x), self.class_names)

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

    # Data

    def setup(self, stage: str) -> None:
        """Refuse data that the network would read wrongly; a head without names takes theirs."""
        data = self.trainer.datamodule
        if data is None:
            return
        check(Expected.by(self), data)
        names = getattr(data, "class_names", None)
        if stage == "fit" and self.hparams["class_names"] is None and names:
            self.class_names = list(names)
            self.hparams.update(class_names=self.class_names)

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
        """Freeze what was frozen when the checkpoint was written, and nothing else.

        Raises:
            UserError: If it was written with other columns or another vocabulary, whose places
                mean nothing here.
        """
        written = checkpoint.get("hyper_parameters", {}).get("preprocessing")
        own = self.hparams["preprocessing"]
        if written and own["kind"] in ("table", "tokens") and not same_encoding(written, own):
            raise UserError(
                "The checkpoint was written with other columns, categories or words than this "
                "network has. Go on with the data that it was written with, or load its weights "
                "with zoo.load_weights or load_from_checkpoint and train those."
            )
        frozen = set(checkpoint.get("frozen", ()))
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self.train(self.training)


def as_buffer(values: list[float] | None) -> Tensor | None:
    """Return numbers as a tensor to register as a buffer, or None."""
    return None if values is None else torch.tensor(values, dtype=torch.get_default_dtype())
