"""Document 004, "A Simple Neural Network": FizBuzNet and its parts beside the zoo's."""

from collections.abc import Callable

import pytest
import torch
from quick import fit_recipe, linear_layers, network_and_data, share
from torch import Tensor, nn

import zoo
from datamodules import fizzbuzz
from datamodules.spec import DataSpec
from zoo.architectures import FeedForward
from zoo.initialization import initialize


class FizBuzNet(nn.Module):
    """The document's class FizBuzNet; it writes self- for self once."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(input_size, hidden_size)
        self.out = nn.Linear(hidden_size, output_size)

    def forward(self, batch: Tensor) -> Tensor:
        activated = torch.sigmoid(self.hidden(batch))
        return self.out(activated)


class Linear(nn.Module):
    """The document's hand-written Linear: weights of shape (out_features, in_features)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(torch.Tensor(out_features, in_features))
        self.bias = nn.Parameter(torch.Tensor(out_features))

    def forward(self, input: Tensor) -> Tensor:
        return input.matmul(self.weight.t()) + self.bias


def test_fizzbuzz_net_is_fiz_buz_net() -> None:
    """Ten bits, 100 hidden units (ours: the document leaves it open), four classes."""
    model, data = network_and_data("fizzbuzz_net")
    net = FizBuzNet(10, 100, 4)
    share(model, net)
    x, y = data.splits["test"]
    torch.testing.assert_close(model(x), net(x))
    # `loss = nn.MSELoss(); output = loss(hyp, y_)`, where y_ has a 1 in the column of its class
    expected = nn.MSELoss()(net(x), nn.functional.one_hot(y, 4).float())
    torch.testing.assert_close(model.loss(model(x), y), expected)

    other, _ = network_and_data("fizzbuzz_net.cross_entropy")
    share(other, net)
    torch.testing.assert_close(other.loss(other(x), y), nn.CrossEntropyLoss()(net(x), y))


def test_the_mean_and_the_sum_of_squares_differ_by_their_count() -> None:
    """Its text sums the squared differences, its code takes nn.MSELoss, as we do."""
    model, data = network_and_data("fizzbuzz_net")
    x, y = data.splits["test"]
    squares = (model(x) - nn.functional.one_hot(y, 4)).square()
    torch.testing.assert_close(model.loss(model(x), y), squares.sum() / squares.numel())


def test_the_hand_written_linear_equals_nn_linear() -> None:
    model, data = network_and_data("fizzbuzz_net")
    x = data.splits["test"][0]
    by_hand = Linear(10, 100)
    first, *_ = linear_layers(model)
    share(first, by_hand)
    assert by_hand.weight.shape == (100, 10)
    torch.testing.assert_close(first(x), by_hand(x))
    # "F.linear allows us to pass the weights and inputs"
    torch.testing.assert_close(nn.functional.linear(x, first.weight, first.bias), by_hand(x))


def test_the_hand_written_update_equals_sgd() -> None:
    """`with torch.no_grad(): for p in net.parameters(): p -= p.grad * lr`, for an epoch."""
    model, data = network_and_data("fizzbuzz_net")
    net = nn.Sequential(Linear(10, 100), nn.Sigmoid(), Linear(100, 4))
    share(model, net)
    _, losses = fit_recipe("fizzbuzz_net", model, data, max_epochs=1, limit_val_batches=0)

    expected = []
    for x, y in data.train_dataloader():
        net.zero_grad()
        loss = nn.MSELoss()(net(x), nn.functional.one_hot(y, 4).float())
        loss.backward()
        with torch.no_grad():
            for p in net.parameters():
                p -= p.grad * 0.1
        expected.append(loss.item())
    assert losses == pytest.approx(expected, rel=1e-5)
    for ours, theirs in zip(model.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_fizzbuzz_data_and_readable_predictions() -> None:
    """Trained on 101 to 1023, tested on 1 to 100; predictions read as a player says them."""
    model, data = network_and_data("fizzbuzz_net")
    assert data.input_shape == (10,)
    assert data.class_names == ["number", "fizz", "buzz", "fizzbuzz"]
    said = model.predict_step(data.splits["test"][0], 0)["prediction"]
    assert set(said) <= set(data.class_names)
    numbers = fizzbuzz.decode(data.splits["test"][0])
    right = [data.class_names[i] for i in fizzbuzz.label(numbers)]
    first = "1 2 fizz 4 buzz fizz 7 8 fizz buzz 11 fizz 13 14 fizzbuzz"
    assert " ".join(fizzbuzz.say(numbers, right)[:15]) == first


def test_sequential_sigmoid_is_the_printed_stack() -> None:
    """Linear, Sigmoid, Linear, Sigmoid; the last one is inside the loss, with the same value."""
    model, data = network_and_data("sequential_sigmoid")
    net = nn.Sequential(nn.Linear(10, 100), nn.Sigmoid(), nn.Linear(100, 4), nn.Sigmoid())
    share(model, net)
    x, y = data.splits["test"]
    torch.testing.assert_close(torch.sigmoid(model(x)), net(x))
    expected = nn.MSELoss()(net(x), nn.functional.one_hot(y, 4).float())
    torch.testing.assert_close(model.loss(model(x), y), expected)


# apply(), parameters(), train(), eval(), zero_grad()


@pytest.mark.parametrize("init", ["zeros", "ones", "uniform", "normal", "xavier_uniform",
                                  "xavier_normal", "kaiming_uniform", "kaiming_normal",
                                  "orthogonal"])  # fmt: skip
def test_apply_with_a_named_initialisation(init: str) -> None:
    """`--learning.init NAME` is `net.apply(torch.nn.init.NAME_)` on the weights."""
    spec = DataSpec((10,), num_outputs=4)
    torch.manual_seed(0)
    model = FeedForward(spec, hidden_dim=100)
    initialize(model, init)
    net = FizBuzNet(10, 100, 4)
    torch.manual_seed(0)
    FeedForward(spec, hidden_dim=100)  # draws what ours drew before

    def custom_function(layer: nn.Module) -> None:
        if isinstance(layer, nn.Linear):
            getattr(nn.init, f"{init}_")(layer.weight)

    net.apply(custom_function)
    ours = [layer.weight for layer in linear_layers(model)]
    theirs = [layer.weight for layer in linear_layers(net)]
    for own, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, their)


def test_initialisation_from_the_command_line(run_cli: Callable) -> None:
    """All weights 1, and a learning rate of 0 that leaves them so."""
    arguments = ("--learning.init", "ones", "--lr", 0, "--trainer.max_epochs", 1)
    result = run_cli("fit", "--model", "fizzbuzz_net", *arguments)
    assert result.status == 0, result.err
    model = zoo.load_weights("runs/fizzbuzz_net/version_0")
    for layer in linear_layers(model):
        assert (layer.weight == 1).all()
        assert (layer.bias != 1).all()

    result = run_cli("fit", "--model", "fizzbuzz_net", "--learning.init", "xavier")
    assert result.status == 2
    assert "xavier_uniform" in result.err


def test_parameters_train_eval_and_zero_grad() -> None:
    model, data = network_and_data("fizzbuzz_net")
    x, y = data.splits["test"]
    assert sum(p.numel() for p in model.parameters()) == (10 + 1) * 100 + (100 + 1) * 4
    model.loss(model(x), y).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    assert model.train().training
    assert not model.eval().training
