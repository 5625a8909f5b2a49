"""Network: what every network of the zoo is, before it is asked to learn anything."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn

from datamodules.spec import DataSpec, Task
from zoo import preprocessing
from zoo.cards import Card
from zoo.errors import UserError
from zoo.fitted.calibration import Calibration
from zoo.fitted.decisions import Decision
from zoo.freezing import FreezableModule
from zoo.tasks import build_task


class Network(FreezableModule):
    """A backbone and a head, with its task and its way of reading raw input.

    Shape: a raw batch (N, *input_shape) -> logits (N, num_outputs), or values for regression.

    Args:
        spec: The data that it is for, as `datamodule.spec` gives them.
    """

    backbone: nn.Module

    def __init__(self, spec: DataSpec | Mapping[str, Any]) -> None:
        super().__init__()
        spec = DataSpec.of(spec)
        self.save_hyperparameters()
        for name, value in self.hparams.items():
            # torch refuses a dropout of nan only when it is to drop something.
            if isinstance(value, float) and math.isnan(value):
                raise UserError(f"{name} takes a number, not nan.")
        self.preprocess = preprocessing.build(spec.preprocessing, spec.input_shape)
        target = spec.preprocessing.get("target") or {}
        self.register_buffer("target_mean", as_buffer(target.get("mean")))
        self.register_buffer("target_std", as_buffer(target.get("std")))
        self._set_spec(spec)
        #: The card that the weights were loaded or saved with; it may be of other weights by now.
        self.card: Card | None = None
        #: Fitted on validation data at the end of a training; weights carry it.
        self.calibration: Calibration | None = None
        #: Likewise: from which probability on a class is taken, and how wide an interval is.
        self.decision: Decision | None = None
        #: How the inputs of the last batch with targets were nested, if they were several.
        self._input_structure: Any = None

    def _set_spec(self, spec: DataSpec) -> None:
        self.spec = spec
        self.task = build_task(spec.task)
        self.hparams["spec"] = spec.plain()

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, in the order of the logits; empty for regression."""
        return self.spec.names

    @property
    def num_outputs(self) -> int:
        """How many values the head gives."""
        return self.spec.num_outputs

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one example as the backbone reads it."""
        return cast(tuple[int, ...], self.preprocess.output_shape)

    @property  # type: ignore[misc]  # Lightning's can be set; this one follows from the data
    def example_input_array(self) -> Any:
        """Two raw examples, for drawing the graph and for export."""
        example = preprocessing.example_input(self.spec.preprocessing, self.spec.input_shape)
        return move_data_to_device(example, self.device)

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
        head = cast(nn.Linear, self.head)
        return nn.Linear(head.in_features, num_outputs, bias=head.bias is not None)

    def get_head(self) -> nn.Module:
        """Return the head: the last layer, the one that `reset_head` replaces."""
        return self.head

    def reset_head(
        self, num_classes: int, class_names: list[str] | None = None, task: Task | None = None
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
            task = self.spec.task
            if task == "binary" and num_classes > 1:
                task = "multiclass"
        described = {k: v for k, v in self.spec.preprocessing.items() if k != "target"}
        spec = replace(
            self.spec,
            task=task,
            num_outputs=1 if task == "binary" else num_classes,
            class_names=class_names,
            preprocessing=described,
        )
        device, dtype = self.device, next(self.parameters()).dtype
        self.head = self.make_head(spec.num_outputs).to(device, dtype)
        self.calibration = self.decision = None
        self.target_mean = self.target_std = None
        self._set_spec(spec)

    def _in_own_units(self, outputs: Tensor) -> Tensor:
        return outputs if self.target_std is None else outputs * self.target_std + self.target_mean

    def calibrated(self, logits: Tensor) -> Tensor:
        """Return logits divided by the calibration's temperature, if there is one."""
        if self.calibration is None or self.calibration.temperature == 1:
            return logits
        return logits.float() / self.calibration.temperature

    def answer(self, outputs: Tensor) -> dict[str, Any]:
        """Return what `predict_step` does, for what `forward` has given."""
        answer = self.task.predict(self.calibrated(outputs), self.class_names)
        if self.calibration is not None and self.calibration.familiarity is not None:
            answer["unknown"] = self.calibration.unknown(outputs)
        return answer if self.decision is None else self.decision.applied(answer, self.class_names)

    def predict_step(self, batch: Any, batch_idx: int = 0) -> dict[str, Any]:
        """Return what a user reads of a batch.

        Args:
            batch: The inputs, or inputs and targets, as `inputs_of` tells them apart.
            batch_idx: Not used.

        Returns:
            `prediction` (class names, or values) and of classes `probabilities` (N, classes),
            calibrated if the network is. One that was trained by `fit` on 100 validation examples
            or more says too which inputs are `unknown` to it (N,), bool: like none of its classes.
            Their prediction is the likeliest class all the same.
        """
        return self.answer(self(self.inputs_of(batch)))

    def predict(self, data: Any) -> dict[str, Any]:
        """Return what `predict_step` does, for data in memory.

        Args:
            data: Arrays or tensors (N, *input_shape); for a network of tables a DataFrame with its
                columns, in any order, or what makes one; for one of texts, sentences; for one of
                images also their files, and pictures of Pillow's of any size; numbers for FizzBuzz.

        Raises:
            UserError: If the network cannot read them.
        """
        batch = preprocessing.as_batch(data, self.spec)
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                return self.predict_step([move_data_to_device(batch, self.device)])
        finally:
            self.train(was_training)

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
        known = self._input_structure or preprocessing.structure(self.example_input_array)
        return preprocessing.inputs_of(batch, known, self.spec)

    def arguments_at(self, input_shape: Any) -> dict[str, Any]:
        """Return the arguments with which the same weights read images of another size."""
        return {}

    @classmethod
    def check_arguments_in_data(cls, arguments: Mapping[str, Any], place: str) -> None:
        """Refuse arguments of a file that may be anybody's, where a network is made by a name.

        Args:
            arguments: Those of the file.
            place: Where they stand, for the error.
        """


def as_buffer(values: list[float] | None) -> Tensor | None:
    """Return numbers as a tensor to register as a buffer, or None."""
    return None if values is None else torch.tensor(values, dtype=torch.get_default_dtype())
