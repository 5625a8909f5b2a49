"""Document 002, "Introduction to Deep Learning with PyTorch": its values beside the zoo's."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping
from quick import fit, fit_recipe, linear_layers, network_and_data, share
from torch import nn

import zoo
from datamodules import MNIST
from datamodules.spec import DataSpec
from zoo.architectures import FeedForward
from zoo.recipe import find_recipe

# "Binary Classification: Forward Pass Example"
INPUT_DATA = torch.tensor(
    [
        [-0.4421, 1.5207, 2.0607, -0.3647, 0.4691, 0.0946],
        [-0.9155, -0.0475, -1.3645, 0.6336, -1.9520, -0.3398],
        [0.7406, 1.6763, -0.8511, 0.2432, 0.1123, -0.0633],
        [-1.6630, -0.0718, -0.1285, 0.5396, -0.0288, -0.8622],
        [-0.7413, 1.7920, -0.0883, -0.6685, 0.4745, -0.4245],
    ]
)

# The stacks


def test_linear_stack_is_one_linear_map() -> None:
    """10-18-20-5 without activations: W3 W2 W1 x + W3 (W2 b1 + b2) + b3."""
    model, data = network_and_data("linear_stack")
    layers = linear_layers(model)
    assert [(layer.in_features, layer.out_features) for layer in layers] == [
        (10, 18),
        (18, 20),
        (20, 5),
    ]
    weight, bias = torch.eye(10), torch.zeros(10)
    for layer in layers:
        weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
    x = data.splits["val"][0]
    torch.testing.assert_close(model(x), F.linear(x, weight, bias), atol=1e-5, rtol=1e-5)


STACKS = {
    "binary_mlp": (nn.Linear(6, 4), nn.Linear(4, 1), nn.Sigmoid()),
    "multiclass_mlp": (nn.Linear(6, 4), nn.Linear(4, 3), nn.Softmax(dim=-1)),
    "regression_mlp": (nn.Linear(6, 4), nn.Linear(4, 1)),
    "softmax_mlp": (nn.Linear(16, 8), nn.Linear(8, 4), nn.Linear(4, 2), nn.Softmax(dim=1)),
    "two_layer_regressor": (nn.Linear(4, 2), nn.Linear(2, 1)),
    "tiny_mlp": (nn.Linear(8, 4), nn.Linear(4, 2)),
}


@pytest.mark.parametrize("name", STACKS)
def test_forward_passes_of_the_printed_stacks(name: str) -> None:
    """Logits through the document's last activation are what the document prints."""
    model, data = network_and_data(name)
    reference = nn.Sequential(*STACKS[name])
    share(model, reference)
    x = INPUT_DATA if data.input_shape == (6,) else data.splits["val"][0]
    output = reference(x)
    logits = model(x)
    ours = reference[-1](logits) if not isinstance(reference[-1], nn.Linear) else logits
    torch.testing.assert_close(ours, output)

    predicted = model.predict_step(x, 0)
    if name == "binary_mlp":  # printed: 0.5188 0.3761 0.5015 0.3718 0.4663, one probability each
        assert output.shape == (5, 1)
        torch.testing.assert_close(predicted["probabilities"][:, 1:], output)
    if name == "multiclass_mlp":
        assert output.shape == (5, 3)  # printed: torch.Size([5, 3])
        torch.testing.assert_close(predicted["probabilities"], output)
        assert output.sum(dim=-1).tolist() == pytest.approx([1.0] * 5)
    if name == "regression_mlp":  # printed: five numbers, one each
        assert predicted["prediction"].shape == (5, 1)


def test_tiny_mlp_has_46_parameters(run_cli: Callable) -> None:
    """(8 + 1) * 4 = 36 and (4 + 1) * 2 = 10."""
    model, _ = network_and_data("tiny_mlp")
    counts = [sum(p.numel() for p in layer.parameters()) for layer in linear_layers(model)]
    assert counts == [36, 10]
    assert sum(p.numel() for p in model.parameters()) == 46
    result = run_cli("models", "--model", "tiny_mlp")
    assert "parameters  46\n" in result.out


def test_two_layer_regressor_trains_as_the_printed_loop_does() -> None:
    """Ten examples in batches of four, MSE, SGD 0.001, five epochs: fifteen updates."""
    model, data = network_and_data("two_layer_regressor")
    reference = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1))
    share(model, reference)
    _, losses = fit_recipe("two_layer_regressor", model, data)

    criterion = nn.MSELoss()
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.001)
    loader = data.train_dataloader()
    expected = []
    for epoch in range(5):
        loader.set_epoch(epoch)
        for feature, target in loader:
            optimizer.zero_grad()
            loss = criterion(reference(feature), target)
            loss.backward()
            optimizer.step()
            expected.append(loss.item())
    assert len(losses) == 15
    assert losses == pytest.approx(expected)
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_water_potability_reads_the_four_columns() -> None:
    model, data = network_and_data("water_potability")
    columns = ["ph", "Sulfate", "Conductivity", "Organic_carbon"]
    assert [c["name"] for c in data.preprocessing["numeric"]] == columns
    assert data.batch_size == 2
    reference = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1))
    share(model, reference)
    x = data.splits["train"][0][torch.arange(50)]
    torch.testing.assert_close(model(x), reference(model.preprocess(x)))


# The printed values


@pytest.mark.parametrize("label", [0, 1, 2])
def test_one_hot_rows(label: int) -> None:
    """(1, 0, 0), (0, 1, 0), (0, 0, 1): what mean squared error compares the outputs with."""
    row = [1.0 if i == label else 0.0 for i in range(3)]
    model = FeedForward(DataSpec((6,), num_outputs=3)).learn({"loss": "mse"})
    target = torch.tensor([label])
    assert model.loss(torch.tensor([row]), target) == 0.0
    assert F.one_hot(target, 3).tolist() == [row]


@pytest.mark.parametrize("loss", ["cross_entropy", "nll", "kl_div"])
def test_cross_entropy_of_the_printed_scores(loss: str) -> None:
    """(-0.1211, 0.1059) against (1, 0): 0.8131, also as NLL of log_softmax and as KL divergence."""
    model = FeedForward(DataSpec((16,), num_outputs=2)).learn({"loss": loss})
    scores = torch.tensor([[-0.1211, 0.1059]]).double()
    value = model.loss(scores, torch.tensor([0]))
    assert value.item() == pytest.approx(0.8131, abs=5e-5)


def test_softmax_before_cross_entropy_would_be_a_second_one() -> None:
    """The document gives softmax outputs to CrossEntropyLoss; softmax_mlp gives it logits."""
    model, data = network_and_data("softmax_mlp")
    x, y = data.splits["val"]
    logits = 4 * model(x)
    twice = nn.CrossEntropyLoss()(torch.softmax(logits, dim=1), y)
    once = F.nll_loss(torch.log_softmax(logits, dim=1), y)
    torch.testing.assert_close(model.loss(logits, y), once)
    assert not torch.isclose(twice, once)


def test_leaky_relu_and_relu_of_the_printed_inputs() -> None:
    """LeakyReLU(0.05) of -2 is -0.1, with gradient 0.05; ReLU of -1 is 0, with gradient 0."""
    for activation, x, value, slope in (("leaky_relu", -2.0, -0.1, 0.05), ("relu", -1.0, 0, 0)):
        spec = DataSpec((1,))
        model = FeedForward(spec, hidden_dim=1, activation=activation, negative_slope=0.05)
        layer = model.backbone[2]
        at = torch.tensor(x, requires_grad=True)
        y = layer(at)
        y.backward()
        assert y.item() == pytest.approx(value)
        assert at.grad.item() == pytest.approx(slope)


def test_the_parameter_update_by_hand() -> None:
    """`weight = weight - lr * weight_grad` with lr 0.001 is what SGD does."""
    model, data = network_and_data(
        "softmax_mlp",
        optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 0.001}},
    )
    loader = data.train_dataloader()
    x, y = next(iter(loader))
    before = [p.detach().clone() for p in model.parameters()]
    gradients = torch.autograd.grad(model.loss(model(x), y), list(model.parameters()))
    fit(model, data, max_steps=1, limit_val_batches=0)
    for weight, old, gradient in zip(model.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(weight, old - 0.001 * gradient)


# General features


def test_dropout_mlp_is_the_printed_stack() -> None:
    """Linear(8, 16), ReLU, Dropout(0.2); the head behind it is ours."""
    model, _ = network_and_data("dropout_mlp")
    reference = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(p=0.2))
    share(model.backbone, reference)
    features = torch.randn((10, 8))
    for training in (True, False):
        model.train(training)
        reference.train(training)
        torch.manual_seed(0)
        ours = model.forward_features(features)
        torch.manual_seed(0)
        torch.testing.assert_close(ours, reference(features))


def test_transfer_mlp_starts_uniform_with_its_first_layer_frozen() -> None:
    """nn.init.uniform_ draws from 0 to 1; the document freezes 0.weight and 0.bias."""
    model, data = network_and_data("transfer_mlp")
    first, second = linear_layers(model)
    assert (first.weight.shape, second.weight.shape) == ((32, 16), (64, 32))
    for layer in (first, second):
        assert 0 <= layer.weight.min() < 0.02
        assert 0.98 < layer.weight.max() < 1
        assert layer.weight.mean().item() == pytest.approx(0.5, abs=0.05)
    assert model.frozen == ["backbone.1.weight", "backbone.1.bias"]

    old = [p.detach().clone() for p in model.parameters()]
    fit(model, data, max_epochs=1, limit_train_batches=20, limit_val_batches=0)
    changed = [bool((p != o).any()) for p, o in zip(model.parameters(), old, strict=True)]
    assert changed == [False, False, True, True]


def test_freezing_by_name_pattern_from_the_command_line(run_cli: Callable) -> None:
    run = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 5)
    assert run_cli("fit", "--model", "fnn", "--freeze", "backbone.[13].*", *run).status == 0
    model = zoo.load_weights("runs/fnn/version_0")
    torch.manual_seed(find_recipe("fnn").seed_everything)
    start = zoo.create_model("fnn")
    unchanged = [
        name
        for (name, p), q in zip(model.named_parameters(), start.parameters(), strict=True)
        if torch.equal(p, q)
    ]
    assert unchanged == ["backbone.1.weight", "backbone.1.bias", "backbone.3.weight",
                         "backbone.3.bias"]  # fmt: skip

    result = run_cli("fit", "--model", "fnn", "--freeze", "layer1.*", *run)
    assert result.status == 2
    assert "layer1.* matches no parameter" in result.err
    assert "backbone.1.*" in result.err


def test_losses_and_accuracies_of_every_epoch() -> None:
    """Training and validation loss and accuracy, each once an epoch, as the document lists them."""
    model, data = network_and_data("multiclass_mlp")
    trainer, losses = fit_recipe("multiclass_mlp", model, data, max_epochs=2)
    logged = trainer.callback_metrics
    assert {"loss/train", "loss/val", "accuracy/train", "accuracy/val"} <= set(logged)

    # "epoch_loss = training_loss / len(trainloader)", but by examples: the last batch is smaller
    per_batch = losses[-len(data.train_dataloader()) :]
    sizes = [len(y) for _, y in data.train_dataloader()]
    expected = sum(a * b for a, b in zip(per_batch, sizes, strict=True)) / sum(sizes)
    assert logged["loss/train"].item() == pytest.approx(expected, rel=1e-5)

    model.eval()
    x, y = data.splits["val"]
    with torch.no_grad():
        torch.testing.assert_close(logged["loss/val"], F.cross_entropy(model(x), y))
        accuracy = (model(x).argmax(dim=-1) == y).float().mean()
    torch.testing.assert_close(logged["accuracy/val"], accuracy)


def test_early_stopping_from_the_command_line(run_cli: Callable) -> None:
    """It stops when the validation loss no longer falls: at a learning rate of 0, soon."""
    arguments = (
        "--trainer.callbacks+", "EarlyStopping", "--trainer.callbacks.monitor", "loss/val",
        "--trainer.callbacks.patience", 2, "--lr", 0, "--trainer.max_epochs", 50,
    )  # fmt: skip
    result = run_cli("fit", "--model", "tiny_mlp", *arguments)
    assert result.status == 0, result.err
    assert " 3 epochs" in result.out


def test_early_stopping_in_python() -> None:
    model, data = network_and_data("tiny_mlp")
    stopping = EarlyStopping("loss/val", patience=1, min_delta=100.0)
    trainer, _ = fit(model, data, max_epochs=50, callbacks=[stopping])
    assert trainer.current_epoch == 2


def test_torchvision_transforms_augment_whole_training_batches() -> None:
    """One call of a v2 transform for a batch; validation and test images stay as they are."""
    from torchvision.transforms import v2

    class Seen(v2.RandomHorizontalFlip):
        shapes: list[tuple[int, ...]]

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.shapes.append(tuple(images.shape))
            return super().forward(images)

    flip = Seen(p=1.0)
    flip.shapes = []
    data = MNIST(source="synthetic", augment=[flip, v2.RandomRotation(10)], batch_size=32)
    model = zoo.create_model("mnist_classifier", datamodule=data)
    fit(model, data, max_epochs=1, limit_train_batches=3, limit_val_batches=2)
    assert flip.shapes == [(32, 1, 28, 28)] * 3


def test_augmentation_from_the_command_line(run_cli: Callable) -> None:
    """`--data.augment` takes torchvision's classes by their path."""
    arguments = (
        "--data.source", "synthetic", "--data.augment+", "torchvision.transforms.v2.RandomRotation",
        "--data.augment.degrees", "[-10, 10]", "--trainer.fast_dev_run", 2,
    )  # fmt: skip
    result = run_cli("fit", "--model", "mnist_classifier", *arguments)
    assert result.status == 0, result.err


def test_one_example_is_learned_by_heart() -> None:
    """Step 1 of the document's recipe for better models: accuracy 1.0 and loss 0 on one point."""
    model, data = network_and_data("relu_mlp")
    x, y = (tensor[:1] for tensor in data.splits["train"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(1000):  # the document's range(1e3) is no range: 1e3 is a float
        loss = model.loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01
    assert model(x).argmax() == y
