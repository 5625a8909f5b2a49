"""Document 003, "PyTorch Reference": its networks beside the zoo's.

Its training (logistic regression, losses, optimizers, penalties) is in test_document_003_training.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from quick import data_of, fit, network_and_data, share
from torch import Tensor, nn

import zoo
from datamodules.spec import DataSpec
from zoo.architectures import FeedForward, LSTMCellNet, Recurrent

# Class Net in its three forms


class Net(nn.Module):
    """The document's class Net, with the dimension that its log_softmax leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(28 * 28, 200)
        self.fc2 = nn.Linear(200, 200)
        self.fc3 = nn.Linear(200, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return F.log_softmax(self.fc3(x), dim=-1)


def sequential() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(28 * 28, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10),
        nn.LogSoftmax(dim=-1),
    )  # fmt: skip


def ordered() -> nn.Sequential:
    """The document calls both activations ReLU; here they have names of their own."""
    layers = [
        ("fc1", nn.Linear(28 * 28, 200)),
        ("relu1", nn.ReLU()),
        ("fc2", nn.Linear(200, 200)),
        ("relu2", nn.ReLU()),
        ("fc3", nn.Linear(200, 10)),
        ("log_softmax", nn.LogSoftmax(dim=-1)),
    ]
    return nn.Sequential(OrderedDict(layers))


@pytest.mark.parametrize("form", [Net, sequential, ordered], ids=["class", "Sequential", "dict"])
def test_mnist_net_in_three_forms(form: Callable[[], nn.Module]) -> None:
    """784-200-200-10; the document gives log_softmax and NLL, we give logits and the same loss."""
    model, data = network_and_data("mnist_net")
    reference = form()
    share(model, reference)
    x, y = (tensor[:32] for tensor in data.splits["val"])
    document = reference(x.flatten(1) / 255)
    torch.testing.assert_close(F.log_softmax(model(x), dim=-1), document)
    torch.testing.assert_close(model.loss(model(x), y), nn.NLLLoss()(document, y))


def test_the_documents_ordered_dict_loses_a_relu() -> None:
    """Two entries called ReLU are one: nothing stands between fc2 and fc3."""
    as_written = OrderedDict([("fc1", 0), ("ReLU", 1), ("fc2", 0), ("ReLU", 1), ("fc3", 0)])
    assert list(as_written) == ["fc1", "ReLU", "fc2", "fc3"]


# The convolutions


@pytest.mark.parametrize("named", [False, True], ids=["Sequential", "OrderedDict"])
def test_conv_net_has_the_convolutions_of_the_document(named: bool) -> None:
    """Conv2d(1, 20, 5), ReLU, Conv2d(20, 64, 5), ReLU: 28 x 28 pixels become 64 x 20 x 20."""
    layers = [nn.Conv2d(1, 20, 5), nn.ReLU(), nn.Conv2d(20, 64, 5), nn.ReLU()]
    names = ["conv1", "relu1", "conv2", "relu2"]
    reference = nn.Sequential(OrderedDict(zip(names, layers, strict=True)) if named else None)
    reference = reference if named else nn.Sequential(*layers)
    model, data = network_and_data("conv_net", pool=1)
    share(model.backbone, reference)
    images = data.splits["val"][0][:2]
    output = reference(images / 255)
    assert output.shape == (2, 64, 20, 20)
    torch.testing.assert_close(model.forward_features(images), output.flatten(1))

    pooled, _ = network_and_data("conv_net")
    shapes = [p.shape for p in pooled.backbone.parameters()]
    assert shapes == [p.shape for p in reference.parameters()]


# FeedForwardNN


class FeedForwardNN(nn.Module):
    """The document's class FeedForwardNN."""

    def __init__(
        self, input_size: int, num_classes: int, num_hidden: int, hidden_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.nonlinearity = nn.ReLU()
        self.hidden_layers = nn.ModuleList([nn.Linear(input_size, hidden_dim)])
        for _ in range(num_hidden - 1):
            self.hidden_layers.append(nn.Linear(hidden_dim, hidden_dim))
        self.output_projection = nn.Linear(hidden_dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for hidden_layer in self.hidden_layers:
            x = self.nonlinearity(self.dropout(hidden_layer(x)))
        return F.log_softmax(self.output_projection(x), dim=-1)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_fashion_ffnn_is_feed_forward_nn(training: bool) -> None:
    """784 inputs, two hidden layers of 512, dropout 0.2 before ReLU, 10 classes."""
    model, data = network_and_data("fashion_ffnn")
    reference = FeedForwardNN(784, num_classes=10, num_hidden=2, hidden_dim=512, dropout=0.2)
    share(model, reference)
    x, y = (tensor[:64] for tensor in data.splits["train"])
    model.train(training)
    reference.train(training)
    torch.manual_seed(0)
    logits = model(x)
    torch.manual_seed(0)
    document = reference(x.view(-1, 784) / 255)
    torch.testing.assert_close(torch.log_softmax(logits, dim=-1), document)
    torch.testing.assert_close(model.loss(logits, y), nn.NLLLoss()(document, y))


def test_fashion_ffnn_trains_as_the_printed_loop_does() -> None:
    """Batches of 64, NLLLoss, SGD 0.1 with momentum 0.9; the same units are dropped."""
    model, data = network_and_data("fashion_ffnn")
    reference = FeedForwardNN(784, num_classes=10, num_hidden=2, hidden_dim=512, dropout=0.2)
    share(model, reference)
    torch.manual_seed(0)
    _, losses = fit(model, data, max_steps=10, limit_val_batches=0)

    criterion = nn.NLLLoss()
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(0)
    expected = []
    for _, (images, labels) in zip(range(10), data.train_dataloader(), strict=False):
        batch_loss = criterion(reference(images.view(-1, 784) / 255), labels)
        optimizer.zero_grad()
        batch_loss.backward()
        optimizer.step()
        expected.append(batch_loss.item())
    assert losses == pytest.approx(expected, rel=1e-4)


# The recurrent networks


def recurrent(**options: Any) -> Recurrent:
    """nn.LSTM(10, 20, 2) over sequences of 5 steps, as the zoo has it."""
    return Recurrent(DataSpec((5, 10)), **{"hidden_dim": 20, "num_layers": 2, **options})


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_recurrent_shapes_in_both_batch_orders(cell: str) -> None:
    """(10, 20, 2) on (5, 3, 10): output (5, 3, 20), and (3, 5, 20) with batch_first=True."""
    ours = recurrent(cell=cell).backbone
    reference = {"rnn": nn.RNN, "lstm": nn.LSTM}[cell](10, 20, 2)
    share(ours, reference)
    x = torch.randn(5, 3, 10)  # (sequence_length, batch_size, input_size)
    start = torch.randn(2, 3, 20)  # (layers, batch_size, hidden_size)
    state = (start, torch.randn(2, 3, 20)) if cell == "lstm" else start
    output, last = reference(x, state)
    ours_output, ours_last = ours(x.transpose(0, 1), state)
    assert output.shape == (5, 3, 20)
    assert ours_output.shape == (3, 5, 20)
    torch.testing.assert_close(ours_output.transpose(0, 1), output)
    torch.testing.assert_close(ours_last, last)
    # the document's output[:, -1] is the final output only where the batch comes first
    hidden = ours_last[0] if cell == "lstm" else ours_last
    torch.testing.assert_close(ours_output[:, -1], hidden[-1])


def test_recurrent_features_are_the_last_output() -> None:
    model = recurrent()
    x = torch.randn(3, 5, 10)
    output, _ = model.backbone(x)
    torch.testing.assert_close(model.forward_features(x), output[:, -1])


def test_bidirectional_shapes() -> None:
    """nn.LSTM(10, 20, 2, bidirectional=True): 40 features, 20 of each direction's last step.

    The document says input_size * bidirectional, where it is hidden_size * 2.
    """
    model = recurrent(bidirectional=True)
    x = torch.randn(3, 5, 10)
    output, (hidden, cell) = model.backbone(x)
    assert output.shape == (3, 5, 40)
    assert hidden.shape == cell.shape == (4, 3, 20)
    last = torch.cat([output[:, -1, :20], output[:, 0, 20:]], dim=-1)
    torch.testing.assert_close(model.forward_features(x), last)


@pytest.mark.parametrize(
    ("name", "kind", "layers", "bidirectional"),
    [
        ("mnist_rnn", nn.RNN, 1, False),
        ("mnist_lstm", nn.LSTM, 2, False),
        ("mnist_bilstm", nn.LSTM, 2, True),
    ],
)
def test_recurrent_recipes_read_images_row_by_row(
    name: str, kind: type[nn.RNNBase], layers: int, bidirectional: bool
) -> None:
    model, data = network_and_data(name)
    layer = model.backbone
    assert type(layer) is kind
    assert (layer.input_size, layer.num_layers, layer.bidirectional) == (28, layers, bidirectional)
    images = data.splits["val"][0][:2]
    rows = model.as_sequence(images)
    torch.testing.assert_close(rows, images.squeeze(1) / 255)
    assert model.forward_features(images).shape == (2, 128 * (1 + bidirectional))


def test_stepped_lstm_cell_equals_lstm() -> None:
    """nn.LSTMCell(10, 20) over (2, 3, 10), two time steps of a batch of three."""
    model = LSTMCellNet(DataSpec((2, 10)), hidden_dim=20)
    lstm = nn.LSTM(10, 20)
    share(model.backbone, lstm)
    x = torch.randn(2, 3, 10)
    output, (hidden, _) = lstm(x)
    torch.testing.assert_close(model.forward_features(x.transpose(0, 1)), output[-1])

    hx, cx = torch.zeros(3, 20), torch.zeros(3, 20)
    stepped = []
    for i in range(x.size()[0]):  # the document's loop
        hx, cx = model.backbone(x[i], (hx, cx))
        stepped.append(hx)
    torch.testing.assert_close(torch.stack(stepped, dim=0), output)
    torch.testing.assert_close(hx, hidden[0])


def test_mnist_lstm_cell_equals_an_lstm_of_one_layer() -> None:
    model, data = network_and_data("mnist_lstm_cell")
    lstm = zoo.create_model("mnist_lstm", datamodule=data, num_layers=1)
    share(model, lstm)
    images = data.splits["val"][0][:8]
    torch.testing.assert_close(model(images), lstm(images))


@pytest.mark.parametrize(
    ("architecture", "options"),
    [(Recurrent, {}), (Recurrent, {"pooling": "max"}), (LSTMCellNet, {})],
)
def test_padding_changes_nothing(architecture: type[Recurrent], options: dict[str, str]) -> None:
    """A sentence has the same logits alone, and padded beside a longer one."""
    data = data_of("sentiment_bilstm")
    torch.manual_seed(0)
    network = architecture(data.spec, hidden_dim=16, **options).eval()
    x = data.splits["val"][0][:6]
    for row in x:
        length = int((row != 0).sum())
        assert 0 < length < x.shape[1]
        torch.testing.assert_close(network(row[None, :length]), network(x[(x == row).all(1)][:1]))


def test_sentiment_bilstm_keeps_its_vocabulary_with_its_weights(tmp_path: Any) -> None:
    model, data = network_and_data("sentiment_bilstm")
    zoo.save_weights(model, tmp_path / "weights.safetensors")
    loaded = zoo.load_weights(tmp_path / "weights.safetensors")
    assert loaded.spec.preprocessing["vocabulary"] == data.preprocessing["vocabulary"]
    assert loaded.class_names == ["negative", "positive"]
    x = data.splits["val"][0][:6]
    torch.testing.assert_close(loaded(x), model.eval()(x))


def test_sentiment_bilstm_learns() -> None:
    torch.manual_seed(0)
    model, data = network_and_data("sentiment_bilstm")
    trainer, _ = fit(model, data, max_epochs=1)
    assert trainer.callback_metrics["accuracy/val"] > 0.8


def test_linear_layers_broadcast_over_leading_dimensions() -> None:
    """nn.Linear(1, 3) maps (2, 1) to (2, 3); a network of ours flattens what comes before."""
    net = FeedForward(DataSpec((1,), "regression", 3), num_hidden=0)
    assert net(torch.rand(2, 1)).shape == (2, 3)
    assert net.head(torch.rand(2, 3, 1)).shape == (2, 3, 3)
