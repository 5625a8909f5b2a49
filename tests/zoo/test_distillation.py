"""Distillation: the teacher's share of the loss, and teachers that do not fit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from toy import Numbers, network, trainer

import zoo
from zoo.distillation import TeacherDoesNotFit
from zoo.errors import UserError


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    torch.manual_seed(1)
    network(Numbers(), norm="batch").save_pretrained(tmp_path / "teacher")
    return str(tmp_path / "teacher")


def test_the_loss_is_that_of_the_paper(teacher: str) -> None:
    model = network(Numbers(), teacher=teacher, teacher_weight=0.7, temperature=3.0)
    x, target = torch.randn(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    soft = torch.softmax(zoo.load_weights(teacher)(x) / 3, dim=-1)
    # Cross-entropy with soft targets has the gradient of the divergence, which lacks a constant.
    logits = model(x)
    entropy = -(soft * soft.log()).sum(-1).mean()
    softened = F.cross_entropy(logits / 3, soft) - entropy
    expected = 0.3 * F.cross_entropy(logits, target) + 0.7 * 9 * softened
    assert model.training_step((x, target), 0).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("teacher_weight", [0.0, 0.7, 1.0])
def test_class_weights_weigh_the_teachers_share_too(teacher: str, teacher_weight: float) -> None:
    options = {"teacher": teacher, "teacher_weight": teacher_weight, "label_smoothing": 0.1}
    options["hidden_dim"] = [4]  # or it would begin with its teacher's weights
    weighted = network(Numbers(), class_weights=[1.0, 2.0, 1.0], **options)
    x, target = torch.randn(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    # As if the examples of class 1 were there twice.
    again = target == 1
    repeated = torch.cat([x, x[again]]), torch.cat([target, target[again]])
    expected = network(Numbers(), **options).training_step(repeated, 0)
    torch.testing.assert_close(weighted.training_step((x, target), 0), expected)


def test_a_network_comes_to_answer_as_its_teacher(teacher: str, tmp_path: Path) -> None:
    data = Numbers()
    data.setup("fit")
    x = torch.cat([batch[0] for batch in data.train_dataloader()])
    expected = zoo.load_weights(teacher)(x).softmax(-1)

    def distance(model: zoo.ZooModule) -> float:
        with torch.no_grad():
            return (model.eval()(x).softmax(-1) - expected).abs().mean().item()

    options = {"teacher": teacher, "teacher_weight": 1.0}
    model = network(data, **options)
    before = distance(model)
    trainer(tmp_path, epochs=60).fit(model, datamodule=data)
    assert distance(model) < 0.5 * before


def test_a_teacher_is_no_part_of_the_network(teacher: str, tmp_path: Path) -> None:
    plain, taught = network(Numbers()), network(Numbers(), teacher=teacher)
    assert taught.state_dict().keys() == plain.state_dict().keys()
    taught.save_pretrained(tmp_path / "taught")
    assert zoo.load_weights(tmp_path / "taught").learning.teacher is None


def test_a_new_head_has_no_teacher(teacher: str) -> None:
    model = network(Numbers(), teacher=teacher)
    model.reset_head(2, ["left", "right"])
    assert model.learning.teacher is None
    assert torch.isfinite(model.training_step((torch.randn(2, 5), torch.tensor([0, 1])), 0))


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    other = network(Numbers())
    other.reset_head(3, ["x", "y", "z"])
    other.save_pretrained(tmp_path)
    with pytest.raises(TeacherDoesNotFit, match="knows x, y, z; these data have a, b, c"):
        network(Numbers(), teacher=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "named"),
    [({"teacher_weight": 1.5}, "teacher_weight"), ({"temperature": 0.0}, "temperature")],
)
def test_numbers_out_of_range_are_refused(
    teacher: str, options: dict[str, float], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        network(Numbers(), teacher=teacher, **options)


def test_from_the_command_line(run_cli: Callable) -> None:
    """A recipe's teacher gives way to other data; one that the user asks for is refused."""
    short = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2)
    Path("taught.yaml").write_text(
        "model: {class_path: zoo.architectures.FeedForward}"
        "\nlearning: {teacher: mnist_net.tuned}\ndata: datamodules.MNIST\n"
    )
    taught = run_cli("fit", "--model", "taught.yaml", *short)
    assert taught.status == 0, taught.err
    assert "teacher" not in taught.out
    other = run_cli("fit", "--model", "taught.yaml", "--data", "fashion_mnist", *short)
    assert other.status == 0, other.err
    assert "teacher is for other data, so there is none" in other.out
    asked = run_cli(
        "fit",
        "--model",
        "mnist_net",
        "--data",
        "fashion_mnist",
        "--learning.teacher",
        "mnist_net.tuned",
    )
    assert asked.status == 2
    assert "--learning.teacher mnist_net.tuned knows 0, 1, 2" in asked.err


def test_in_python_a_recipes_teacher_gives_way_too(tmp_path: Path) -> None:
    recipe = tmp_path / "taught.yaml"
    recipe.write_text(
        "model: {class_path: zoo.architectures.FeedForward}"
        "\nlearning: {teacher: mnist_net.tuned}\ndata: datamodules.LogicGate\n"
    )
    assert zoo.create_model(str(recipe)).learning.teacher is None
    with pytest.raises(TeacherDoesNotFit, match="binary"):
        zoo.create_model(str(recipe), learning={"teacher": "mnist_net.tuned"})
