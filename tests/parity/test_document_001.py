"""Document 001, "Neural Networks": its printed numbers, formulas and stacks beside the zoo's."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from quick import fit, fit_recipe, linear_layers, network_and_data, share
from torch import Tensor, nn

import zoo
from datamodules import InlineData
from datamodules.spec import DataSpec
from zoo.architectures import FeedForward

#: What In [5] prints, to all its digits.
PRINTED_LOSSES = [
    1.2210241556167603,
    0.7814555168151855,
    0.5001314878463745,
    0.3200841248035431,
    0.2048538327217102,
    0.13110646605491638,
    0.08390815556049347,
    0.053701214492321014,
    0.03436878323554993,
    0.02199600636959076,
]


def test_linear_regressor_repeats_the_printed_losses() -> None:
    """1.2210 0.7815 0.5001 ... 0.0220, once the first loss is the document's."""
    model, data = network_and_data("linear_regressor")
    with torch.no_grad():  # no weight, and a bias that misses both targets by as much
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([1.0, 0.0]) + math.sqrt(PRINTED_LOSSES[0]))
    _, losses = fit_recipe("linear_regressor", model, data)
    assert [f"{loss:.4f}" for loss in losses] == [f"{loss:.4f}" for loss in PRINTED_LOSSES]
    assert losses == pytest.approx(PRINTED_LOSSES, rel=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_linear_regressor_loses_36_percent_of_its_loss_per_epoch(seed: int) -> None:
    """(1 - 2 * 0.1)^2 = 0.64, whatever the weights: the input's norm is 1, and the bias adds 1."""
    torch.manual_seed(seed)
    model, data = network_and_data("linear_regressor")
    _, losses = fit_recipe("linear_regressor", model, data, precision="64-true")
    assert len(losses) == 10
    # the input is a float32 before it is a float64: its norm is 1 to seven digits
    assert np.divide(losses[1:], losses[:-1]) == pytest.approx(0.64, abs=1e-7)
    ratios = np.divide(PRINTED_LOSSES[1:], PRINTED_LOSSES[:-1])
    assert ratios == pytest.approx(0.64, abs=1e-6)


def test_neuron_gives_eight() -> None:
    """0.5 * 5 + 0.5 * 5 + 0.5 * 5 + 0.5 = 8.0."""
    neuron = FeedForward(DataSpec((3,), "regression", 1), num_hidden=0)
    with torch.no_grad():
        neuron.head.weight.fill_(0.5)
        neuron.head.bias.fill_(0.5)
    assert neuron(torch.tensor([[5.0, 5.0, 5.0]])).item() == 8.0


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 10), (10, 3)])
def test_one_linear_layer_of_other_sizes(inputs: int, outputs: int) -> None:
    data = InlineData(inputs=[[0.1] * inputs], targets=[[1.0] * outputs])
    model = zoo.create_model("linear_regressor", datamodule=data)
    (layer,) = linear_layers(model)
    assert (layer.in_features, layer.out_features) == (inputs, outputs)
    _, losses = fit_recipe("linear_regressor", model, data)
    assert losses[-1] < losses[0]


def test_mean_squared_error_of_the_printed_prediction() -> None:
    """(-0.7739, 0.4137, 0.3271) against (0, 0, 1) is 0.4076."""
    model = FeedForward(DataSpec((10,), "regression", 3)).learn({"loss": "mse"})
    prediction = torch.tensor([[-0.7739, 0.4137, 0.3271]])
    loss = model.loss(prediction, torch.tensor([[0.0, 0.0, 1.0]]))
    assert loss.item() == pytest.approx(0.4076, abs=5e-5)


# The stacks


def test_relu_mlp_is_the_printed_stack() -> None:
    model, data = network_and_data("relu_mlp")
    reference = nn.Sequential(nn.Linear(3, 20), nn.ReLU(), nn.Linear(20, 2))
    share(model, reference)
    x = data.splits["val"][0]
    torch.testing.assert_close(model(x), reference(x))


def test_the_ill_formed_stack_is_refused_by_the_names_of_its_layers(run_cli: Callable) -> None:
    """In [7] puts Linear(4, 2) behind Linear(4, 5); the document prints it and never runs it."""
    spec = DataSpec((4,), num_outputs=2)
    with pytest.raises(zoo.UserError, match=r"layer 2 \(4 to 2\).* layer 1 \(4 to 5\) gives 5"):
        FeedForward(spec, sizes=[[4, 5], [4, 2]])
    mended = FeedForward(spec, sizes=[[4, 5], [5, 2]])
    assert [tuple(layer.weight.shape) for layer in linear_layers(mended)] == [(5, 4), (2, 5)]

    arguments = ("--data.num_features", 4, "--model.sizes", "[[4, 5], [4, 2]]")
    result = run_cli("fit", "--model", "relu_mlp", *arguments)
    assert result.status == 2
    assert result.err.strip() == (
        "error: Linear layer 2 (4 to 2) takes 4 inputs, but linear layer 1 (4 to 5) gives 5. "
        "Make it [5, 2]."
    )


def test_sigmoid_mlp_gives_the_printed_output() -> None:
    """In [11] prints weights, biases, X (-0.5350, 0.3057) and Y (0.5077, 0.6630)."""
    model, _ = network_and_data("sigmoid_mlp")
    printed = [
        [[-0.19976814, -0.01980531], [-0.70210934, -0.2804035], [-0.47918278, -0.36394453]],
        [-0.00917335, 0.2128045, -0.6331857],
        [[-0.31730545, -0.38738433, -0.28919014], [0.16225891, 0.349739, -0.31868428]],
        [0.54793125, 0.49512607],
    ]
    with torch.no_grad():
        for parameter, values in zip(model.parameters(), printed, strict=True):
            parameter.copy_(torch.tensor(values))
    y = torch.sigmoid(model(torch.tensor([[-0.5350, 0.3057]])))
    assert y.tolist() == [pytest.approx([0.5077, 0.6630], abs=1e-4)]


def test_sigmoid_mlp_has_the_loss_of_its_sigmoid() -> None:
    """The network gives logits; the second sigmoid is inside the loss, with the same value."""
    model, data = network_and_data("sigmoid_mlp")
    x, y = data.splits["val"]
    one_hot = nn.functional.one_hot(y, 2).float()
    document = nn.BCELoss()(torch.sigmoid(model(x)), one_hot)
    torch.testing.assert_close(model.loss(model(x), y), document)


def test_fnn_gives_the_printed_output() -> None:
    """In [12], seed 172: (0.2195, 0.0326). The same layers draw the same weights."""
    _, data = network_and_data("fnn")
    torch.manual_seed(172)
    x = torch.randn((1, 10))
    model = zoo.create_model("fnn", datamodule=data)
    assert [(layer.in_features, layer.out_features) for layer in linear_layers(model)] == [
        (10, 128),
        (128, 64),
        (64, 2),
    ]
    assert model(x).tolist() == [pytest.approx([0.2195, 0.0326], abs=5e-5)]


# Gradient descent

EXAMPLES = [[0.8, 0.4, 0.4, 0.2], [0.1, -0.5, 0.3, 0.9], [-0.7, 0.2, 0.0, 0.4]] * 2
TARGETS = [[1.0, 0.0], [0.5, -1.0], [0.2, 0.3], [0.0, 0.0], [1.0, 1.0], [-0.4, 0.6]]
STEPS = 5


def gradient(w: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple:
    """Gradient of the mean squared error of a linear layer, by hand."""
    error = 2 * (x @ w.T + b - y) / y.size
    return error.T @ x, error.sum(axis=0)


@pytest.mark.parametrize(
    "batch_size", [6, 1, 4], ids=["batch", "stochastic-per-example", "mini-batch"]
)
def test_the_three_forms_of_gradient_descent_differ_by_batch_size(batch_size: int) -> None:
    """`for t in range(steps): for batch in batches: w = w - learning_rate * dw`."""
    data = {"inputs": EXAMPLES, "targets": TARGETS, "batch_size": batch_size, "shuffle": False}
    model, datamodule = network_and_data("linear_regressor", data)
    w = model.head.weight.detach().double().numpy().copy()
    b = model.head.bias.detach().double().numpy().copy()
    x, y = (t.double().numpy() for t in datamodule.splits["train"])

    options = {"max_epochs": STEPS, "precision": "64-true", "limit_val_batches": 0}
    _, losses = fit_recipe("linear_regressor", model, datamodule, **options)

    updates = 0
    for _ in range(STEPS):
        for first in range(0, len(x), batch_size):
            batch = slice(first, first + batch_size)
            dw, db = gradient(w, b, x[batch], y[batch])
            w, b = w - 0.1 * dw, b - 0.1 * db
            updates += 1
    assert len(losses) == updates
    np.testing.assert_allclose(model.head.weight.detach().numpy(), w, atol=1e-12)
    np.testing.assert_allclose(model.head.bias.detach().numpy(), b, atol=1e-12)


def test_mini_batches_are_drawn_anew_every_epoch() -> None:
    """`get_batches`: every example once an epoch, in another order."""
    _, data = network_and_data("fnn")
    loader = data.train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        epochs.append(torch.cat([x for x, _ in loader]))
    assert not torch.equal(*epochs)
    assert torch.equal(*(epoch.sort(dim=0).values for epoch in epochs))


# The optimizers, written as the document writes them. What it leaves open is torch's default.


def plain(w: np.ndarray, dw: np.ndarray, state: dict, t: int) -> np.ndarray:
    return w - 0.1 * dw


def momentum(w: np.ndarray, dw: np.ndarray, state: dict, t: int) -> np.ndarray:
    rho = 0.9
    state["v"] = rho * state.get("v", 0.0) + dw
    return w - 0.1 * state["v"]


def adagrad(w: np.ndarray, dw: np.ndarray, state: dict, t: int) -> np.ndarray:
    e = 1e-10
    state["squared"] = state.get("squared", 0.0) + dw * dw
    return w - 0.1 * dw / (np.sqrt(state["squared"]) + e)


def rmsprop(w: np.ndarray, dw: np.ndarray, state: dict, t: int) -> np.ndarray:
    decay_rate, e = 0.99, 1e-8
    state["squared"] = decay_rate * state.get("squared", 0.0) + (1 - decay_rate) * dw * dw
    return w - 0.1 * (dw / (np.sqrt(state["squared"]) + e))


def adam(w: np.ndarray, dw: np.ndarray, state: dict, t: int) -> np.ndarray:
    """The document counts t from 0 and so divides by 1 - 1 = 0; the first t has to be 1.

    Its e stands outside the root of the unbiased second moment, as torch has it.
    """
    delta1, delta2, e = 0.9, 0.999, 1e-8
    state["moment1"] = delta1 * state.get("moment1", 0.0) + (1 - delta1) * dw
    state["moment2"] = delta2 * state.get("moment2", 0.0) + (1 - delta2) * dw * dw
    moment1_unbiased = state["moment1"] / (1 - delta1**t)
    moment2_unbiased = state["moment2"] / (1 - delta2**t)
    return w - 0.1 * moment1_unbiased / (np.sqrt(moment2_unbiased) + e)


@pytest.mark.parametrize("updates", [1, 10])
@pytest.mark.parametrize(
    ("formula", "name", "arguments"),
    [
        (plain, "SGD", {}),
        (momentum, "SGD", {"momentum": 0.9}),
        (adagrad, "Adagrad", {}),
        (rmsprop, "RMSprop", {}),
        (adam, "Adam", {}),
    ],
    ids=["SGD", "momentum", "Adagrad", "RMSprop", "Adam"],
)
def test_optimizers_follow_their_formulas(
    formula: Callable[..., np.ndarray], name: str, arguments: dict[str, Any], updates: int
) -> None:
    spec = {"class_path": f"torch.optim.{name}", "init_args": {"lr": 0.1, **arguments}}
    model, data = network_and_data("linear_regressor", optimizer=spec)
    w = model.head.weight.detach().double().numpy().copy()
    b = model.head.bias.detach().double().numpy().copy()
    x, y = (t.double().numpy() for t in data.splits["train"])

    fit(model, data, max_epochs=updates, precision="64-true", limit_val_batches=0)

    states: tuple[dict, dict] = {}, {}
    for t in range(1, updates + 1):
        dw, db = gradient(w, b, x, y)
        w, b = formula(w, dw, states[0], t), formula(b, db, states[1], t)
    np.testing.assert_allclose(model.head.weight.detach().numpy(), w, atol=1e-12)
    np.testing.assert_allclose(model.head.bias.detach().numpy(), b, atol=1e-12)


# The activations

FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "tanh": lambda x: (torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x)),
    "relu": lambda x: torch.mul(x, (x > 0)),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "prelu": lambda x: torch.where(x > 0, x, 0.25 * x),  # 0.25 is where its slope starts
    # In [13] divides by the sum over everything, which is right for one example alone.
    "softmax": lambda x: torch.exp(x) / torch.exp(x).sum(dim=-1, keepdim=True),
}


@pytest.mark.parametrize("activation", FORMULAS)
def test_activations_by_name(activation: str) -> None:
    """`--model.activation NAME` in every feed-forward network."""
    model, data = network_and_data("fnn", activation=activation)
    x = data.splits["val"][0]
    first, second, head = linear_layers(model)
    formula = FORMULAS[activation]
    torch.testing.assert_close(model(x), head(formula(second(formula(first(x))))))

    before = [p.detach().clone() for p in model.parameters()]
    _, losses = fit(model, data, max_steps=20, limit_val_batches=0)
    assert losses[-1] < losses[0]
    # the slopes of parametric ReLU learn too
    learned = [p for p, old in zip(model.parameters(), before, strict=True) if (p != old).any()]
    assert len(learned) == len(before)


def test_an_unknown_activation_is_refused_by_name(run_cli: Callable) -> None:
    result = run_cli("fit", "--model", "fnn", "--model.activation", "reul")
    assert result.status == 2
    assert "--model.activation" in result.err
    assert "leaky_relu" in result.err
