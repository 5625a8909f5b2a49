"""Networks that read several tensors, and what of a batch is input when predicting."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from toy import SGD, Numbers, network, trainer

from datamodules.base import Split
from datamodules.spec import DataSpec
from zoo import ZooModule
from zoo.callbacks.tensorboard import tensorboard_panels

pytestmark = pytest.mark.filterwarnings("ignore")

FORMS: dict[str, Callable[[Tensor], Any]] = {
    "tuple": lambda x: (x[..., :2], x[..., 2:]),
    "list": lambda x: [x[..., :2], x[..., 2:]],
    "dict": lambda x: {"left": x[..., :2], "right": x[..., 2:]},
}


class Pairs(Numbers):
    """Five numbers in two tensors, of two and of three."""

    def __init__(self, form: str, task: str = "multiclass", **options: Any) -> None:
        super().__init__(task, **options)
        self.form = form

    def load_splits(self) -> dict[str, Split]:
        return {s: (FORMS[self.form](x), y) for s, (x, y) in super().load_splits().items()}


class Joined(ZooModule):
    """A linear layer on two tensors side by side."""

    def __init__(self, spec: DataSpec, width: int = 8) -> None:
        super().__init__(spec)
        self.backbone = nn.Sequential(nn.Linear(5, width), nn.ReLU())
        self.head = nn.Linear(width, self.num_outputs)

    def forward_features(self, x: Any) -> Tensor:
        a, b = x.values() if isinstance(x, dict) else x
        return self.backbone(torch.cat([a, b], dim=1))


def joined(data: Numbers, width: int = 8, **learning: Any) -> Joined:
    torch.manual_seed(0)
    return Joined(data.spec, width).learn({"optimizer": SGD, **learning})


def unaware(task: str = "multiclass") -> Joined:
    """Return a network that nothing but its code tells to read two tensors."""
    return joined(Numbers(task))


# Training and evaluation


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
def test_metrics_are_of_examples_not_of_inputs(tmp_path: Path, form: str, task: str) -> None:
    data = Pairs(form, task, batch_size=24)  # 24, 24, 16: batches of unequal size
    model = joined(data, optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 0.0}})
    fit = trainer(tmp_path, epochs=1)
    fit.fit(model, datamodule=data)
    x, y = data.splits["train"]
    with torch.no_grad():
        assert fit.callback_metrics["loss/train"] == pytest.approx(
            float(model.loss(model.logits(x), y)), rel=1e-5
        )
        if task == "multiclass":
            accuracy = (model(x).argmax(1) == y).float().mean()
            assert fit.callback_metrics["accuracy/train"] == accuracy
            (logged,) = fit.test(model, datamodule=data, verbose=False)
            x, y = data.splits["test"]
            assert logged["accuracy/test"] == (model(x).argmax(1) == y).float().mean()


@pytest.mark.parametrize("form", FORMS)
def test_it_learns_from_a_stock_loader_too(tmp_path: Path, form: str) -> None:
    x, y = Numbers().splits["train"]
    examples = [(FORMS[form](row), target) for row, target in zip(x, y, strict=True)]
    model, fit = unaware(), trainer(tmp_path, epochs=40)
    fit.fit(model, DataLoader(examples, batch_size=16, shuffle=True))
    assert 0.8 < fit.callback_metrics["accuracy/train"] <= 1
    # What it was trained on tells what it reads.
    (predicted, *_) = fit.predict(model, DataLoader(examples, batch_size=64))
    with torch.no_grad():
        expected = model(FORMS[form](x)).softmax(1)
    torch.testing.assert_close(predicted["probabilities"], expected)


def test_a_teacher_reads_all_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Pairs("tuple")
    teacher = joined(data, width=16).eval()
    monkeypatch.setattr("zoo.distillation.load_weights", lambda name: teacher)
    x, y = data.splits["train"]
    alone, taught = (
        joined(data, teacher="teacher", teacher_weight=share).training_step((x, y), 0)
        for share in (0.0, 1.0)
    )
    soft = (teacher.logits(x) / 4).softmax(-1)
    student = joined(data)
    divergence = nn.functional.kl_div(
        (student.logits(x) / 4).log_softmax(-1), soft, reduction="batchmean"
    )
    torch.testing.assert_close(taught, 16 * divergence)
    torch.testing.assert_close(alone, student.loss(student.logits(x), y))


@pytest.mark.parametrize("form", FORMS)
def test_every_picture_that_suits_it_is_drawn(tmp_path: Path, form: str) -> None:
    data = Pairs(form)
    model = joined(data)
    fit = trainer(
        tmp_path,
        logger=TensorBoardLogger(tmp_path, version=""),
        callbacks=tensorboard_panels("full"),
    )
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        fit.fit(model, datamodule=data)
        fit.test(model, datamodule=data, verbose=False)
    assert not [w for w in warned if "TensorBoard lacks" in str(w.message)]
    assert list(Path(fit.logger.log_dir).glob("*/test_features/tensors.tsv"))


# Prediction


def answer(model: ZooModule, x: Any) -> Tensor:
    with torch.no_grad():
        return model.task.predict(model(x), model.class_names)["probabilities"]


@pytest.mark.parametrize("form", FORMS)
def test_all_inputs_are_read(form: str) -> None:
    data = Pairs(form)
    x, y = data.splits["test"]
    for model in (joined(data).eval(), unaware().eval()):
        expected = answer(model, x)
        torch.testing.assert_close(model.predict_step(x, 0)["probabilities"], expected)
        torch.testing.assert_close(model.predict_step((x, y), 0)["probabilities"], expected)
        torch.testing.assert_close(model.predict_step([x, y], 0)["probabilities"], expected)


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
def test_a_second_input_that_looks_like_targets_is_read_by_a_network_that_knows(task: str) -> None:
    class Flagged(Pairs):
        """The second tensor has the shape of the task's targets."""

        def load_splits(self) -> dict[str, Split]:
            width = 2 if task == "regression" else 1
            splits = Numbers.load_splits(self)
            return {s: ((x[:, width:], x[:, :width]), y) for s, (x, y) in splits.items()}

    data = Flagged("tuple", task)
    model = joined(data).eval()
    (a, b), y = data.splits["test"]
    with torch.no_grad():
        expected = model((a, b))
    for batch in ((a, b), [a, b], ((a, b), y)):
        assert torch.equal(model.inputs_of(batch)[1], b)
        assert len(model.predict_step(batch, 0)["prediction"]) == len(expected)


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
def test_one_input_is_told_from_its_targets(tmp_path: Path, task: str) -> None:
    data = Numbers(task)
    model = network(data).eval()
    x, y = data.splits["test"]
    whole = model.predict_step(x, 0)
    (with_targets,) = trainer(tmp_path).predict(model, DataLoader(TensorDataset(x, y), 64))
    (alone,) = trainer(tmp_path).predict(model, DataLoader(TensorDataset(x), 64))
    for found in (with_targets, alone, model.predict_step([x, ["a name"] * len(x)], 0)):
        if task == "regression":
            torch.testing.assert_close(found["prediction"], whole["prediction"])
        else:
            assert found["prediction"] == whole["prediction"]


def test_a_second_input_is_never_dropped_for_a_network_that_reads_one() -> None:
    x, _ = Numbers().splits["test"]
    with pytest.raises((AttributeError, TypeError)):
        network(Numbers()).predict_step((x, x), 0)


def test_what_it_reads_follows_the_data_and_is_written_on_its_card(tmp_path: Path) -> None:
    data = Pairs("dict")
    model = joined(data).eval()
    model.save_pretrained(tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["input_shape"] == {"left": [2], "right": [3]}
    assert data.spec.plain()["input_shape"] == {"left": [2], "right": [3]}
    example = model.example_input_array
    assert {name: tuple(x.shape) for name, x in example.items()} == {
        "left": (2, 2),
        "right": (2, 3),
    }
