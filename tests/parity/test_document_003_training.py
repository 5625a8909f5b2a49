"""Document 003, "PyTorch Reference": its training beside the zoo's."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from quick import fit, fit_recipe, linear_layers, network_and_data, share
from torch import Tensor, nn

import zoo
from datamodules.base import hold_out

# Logistic regression


class LogisticRegression(nn.Module):
    """The document's class LogisticRegression."""

    def __init__(self, input_size: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.linear(x))


def test_logistic_regression_has_the_loss_of_sigmoid_and_bce() -> None:
    model, data = network_and_data("logistic_regression")
    reference = LogisticRegression(input_size=2, num_classes=1)
    share(model, reference)
    x, y = data.splits["test"]
    assert x.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert y.tolist() == [0, 1, 1, 0]
    torch.testing.assert_close(torch.sigmoid(model(x)), reference(x))
    document = nn.BCELoss()(reference(x), y.view(-1, 1))
    torch.testing.assert_close(model.loss(model(x), y), document)


def logistic_regression_by_hand(
    weights: list[float], examples: list[tuple[list[float], float]]
) -> list[float]:
    """The document's training loop in Python floats; changes the weights, returns the losses."""
    losses = []
    for (x1, x2), y in examples:
        y_hat = 1 / (1 + math.exp(-(weights[0] * x1 + weights[1] * x2 + weights[2])))
        losses.append(-math.log(y_hat if y else 1 - y_hat))
        for i, x in enumerate((x1, x2, 1.0)):
            weights[i] -= 0.001 * (y_hat - y) * x  # the gradient of BCE of a sigmoid
    return losses


def drawn_examples(data: Any, epochs: int) -> list[tuple[list[float], float]]:
    loader = data.train_dataloader()
    examples = []
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        examples += [(x[0].tolist(), y.item()) for x, y in loader]
    return examples


def parameters_of(model: nn.Module) -> list[float]:
    return [*model.head.weight.double().flatten().tolist(), model.head.bias.double().item()]


def test_logistic_regression_trains_as_the_printed_loop_does() -> None:
    model, data = network_and_data("logistic_regression")
    weights = parameters_of(model)
    options = {"max_epochs": 50, "precision": "64-true", "limit_val_batches": 0}
    _, losses = fit_recipe("logistic_regression", model, data, **options)
    assert losses == pytest.approx(logistic_regression_by_hand(weights, drawn_examples(data, 50)))
    assert parameters_of(model) == pytest.approx(weights, abs=1e-9)


def test_logistic_regression_does_not_learn_xor() -> None:
    """Printed: 0.7318 0.7089 0.6454 0.7373 0.7000, one drawn example each; ln 2 is 0.6931.

    2,001 epochs of four drawn examples; by hand, as a step of the trainer equals it.
    """
    torch.manual_seed(0)
    model, data = network_and_data("logistic_regression")
    weights = parameters_of(model)
    losses = logistic_regression_by_hand(weights, drawn_examples(data, 2001))
    assert len(losses) == 8004
    # what is left in single losses is which example was drawn
    last = losses[-1000:]
    assert sum(last) / len(last) == pytest.approx(math.log(2), abs=0.01)
    assert 0.5 < min(last) < max(last) < 0.9  # printed: 0.6454 to 0.7373
    examples = [*zip(*(t.tolist() for t in data.splits["test"]), strict=True)]
    assert right_answers(weights, examples) < 4


def right_answers(weights: list[float], examples: list[tuple[list[float], float]]) -> int:
    outputs = [weights[0] * x1 + weights[1] * x2 + weights[2] for (x1, x2), _ in examples]
    return sum((out > 0) == (y == 1) for out, (_, y) in zip(outputs, examples, strict=True))


@pytest.mark.slow
def test_logistic_regression_does_not_learn_xor_in_the_whole_recipe() -> None:
    """The 8,004 updates by the trainer: loss 0.69, at most three of four right."""
    torch.manual_seed(0)
    model, data = network_and_data("logistic_regression")
    _, losses = fit_recipe("logistic_regression", model, data, limit_val_batches=0)
    assert len(losses) == 2001 * 4
    x, y = data.splits["test"]
    assert model.loss(model(x), y).item() == pytest.approx(math.log(2), abs=0.01)
    assert model.task.correct(model(x), y).sum() < 4


def test_xor_is_drawn_with_replacement() -> None:
    """`np.random.randint(4)` four times: an epoch need not hold all four examples."""
    _, data = network_and_data("logistic_regression")
    loader = data.train_dataloader()
    distinct = []
    for epoch in range(20):
        loader.set_epoch(epoch)
        epoch_examples = [tuple(x.flatten().tolist()) for x, _ in loader]
        assert len(epoch_examples) == 4
        distinct.append(len(set(epoch_examples)))
    assert min(distinct) < 4


def test_xor_mlp_learns_all_four() -> None:
    """The non-linear model of which the document says that XOR needs it."""
    torch.manual_seed(0)
    model, data = network_and_data("xor_mlp")
    fit_recipe("xor_mlp", model, data, limit_val_batches=0)
    x, y = data.splits["test"]
    assert model.task.correct(model(x), y).sum() == 4
    assert model.predict_step(x, 0)["prediction"] == ["0", "1", "1", "0"]


# Losses and optimizers


LOSSES = {
    "l1": ("regression_mlp", nn.L1Loss),
    "mse": ("regression_mlp", nn.MSELoss),
    "cross_entropy": ("multiclass_mlp", nn.CrossEntropyLoss),
    "nll": ("multiclass_mlp", nn.NLLLoss),
    "kl_div": ("multiclass_mlp", lambda: nn.KLDivLoss(reduction="batchmean")),
    "bce": ("binary_mlp", nn.BCELoss),
    "bce_with_logits": ("binary_mlp", nn.BCEWithLogitsLoss),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_equal_torch(loss: str) -> None:
    """Each on what the document feeds it: probabilities, log-probabilities or scores."""
    name, criterion = LOSSES[loss]
    model, data = network_and_data(name, loss=loss)
    x, y = (tensor[:100] for tensor in data.splits["val"])
    output = model(x)
    if loss in ("nll", "kl_div"):
        fed = F.log_softmax(output, dim=-1)
    else:
        fed = torch.sigmoid(output) if loss == "bce" else output
    if loss == "kl_div":
        target = F.one_hot(y, 3).float()
    else:
        target = y.view(-1, 1) if loss.startswith("bce") else y
    torch.testing.assert_close(model.loss(output, y), criterion()(fed, target))


OPTIMIZERS = ("SGD", "Adam", "Adagrad", "Adadelta", "RMSprop")


@pytest.mark.parametrize(
    ("loss", "optimizer"), [*zip(LOSSES, [*OPTIMIZERS, "SGD", "Adam"], strict=True)]
)
def test_losses_and_optimizers_from_the_command_line(
    loss: str, optimizer: str, run_cli: Callable
) -> None:
    result = run_cli(
        "fit", "--model", LOSSES[loss][0], "--learning.loss", loss, "--optimizer", optimizer,
        "--optimizer.lr", 0.002, "--trainer.max_epochs", 1, "--trainer.limit_train_batches", 4,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert result.err == ""
    (folder,) = (path for path in _runs() if path.name == "version_0")
    spec = zoo.find_recipe(str(folder / "config.yaml")).optimizer
    assert spec["class_path"].rpartition(".")[2] == optimizer
    assert spec["init_args"]["lr"] == 0.002
    assert zoo.find_recipe(str(folder / "config.yaml")).learning["loss"] == loss


def _runs() -> list[Path]:
    return sorted(Path("runs").glob("*/version_*"))


def test_a_loss_that_does_not_fit_is_refused(run_cli: Callable) -> None:
    result = run_cli("fit", "--model", "regression_mlp", "--learning.loss", "cross_entropy")
    assert result.status == 2
    assert result.err.strip() == (
        "error: --learning.loss cross_entropy does not fit a regression task; these do: mse, l1."
    )
    assert _runs() == []


# Regularisation


def test_l1_and_l2_penalties() -> None:
    """loss + 0.5 * |w|_1 + 0.01 * |w|_2, torch.norm of all weights as one vector, as the document.

    It takes another layer for each, biases and all; ours takes the weights of all layers.
    """
    model, data = network_and_data("tiny_mlp", l1_penalty=0.5, l2_penalty=0.01)
    x, y = next(iter(data.train_dataloader()))
    weights = torch.cat([layer.weight.view(-1) for layer in linear_layers(model)])
    l1_reg, l2_reg = 0.5 * torch.norm(weights, 1), 0.01 * torch.norm(weights, 2)
    expected = F.cross_entropy(model(x), y) + l1_reg + l2_reg
    torch.testing.assert_close(model.training_step((x, y), 0), expected)
    torch.testing.assert_close(model.loss(model(x), y), F.cross_entropy(model(x), y))


def test_an_l1_penalty_makes_weights_small() -> None:
    def mean_weight(**penalty: float) -> float:
        torch.manual_seed(0)
        model, data = network_and_data("tiny_mlp", **penalty)
        fit(model, data, max_epochs=2, limit_val_batches=0)
        weights = torch.cat([layer.weight.flatten() for layer in linear_layers(model)])
        return weights.abs().mean().item()

    assert mean_weight(l1_penalty=0.1) < 0.5 * mean_weight()


def test_splitting_by_lengths() -> None:
    """`random_split(dataset, [50000, 10000])`: that many, every example once, at random."""
    train, val = hold_out(60_000, 10_000, seed=0)
    assert (len(train), len(val)) == (50_000, 10_000)
    assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(60_000))
    assert not torch.equal(val, torch.arange(50_000, 60_000))
    assert torch.equal(val, hold_out(60_000, 10_000, seed=0)[1])


def test_splitting_by_lengths_from_the_command_line(run_cli: Callable) -> None:
    arguments = ("--data.source", "synthetic", "--data.val_size", 2000)
    run = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2)
    result = run_cli("fit", "--model", "mnist_classifier", *arguments, *run)
    assert result.status == 0, result.err
    assert "10,000 / 2,000 / 2,000" in result.out
