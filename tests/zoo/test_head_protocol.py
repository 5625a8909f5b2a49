"""What every network of the zoo can do, whatever it is made of: one set of tests for all names."""

import copy
import functools
from pathlib import Path

import pytest
import torch
from quick import data_of, fit
from torch import Tensor, nn

import zoo
from datamodules import TensorDataModule
from zoo import ZooModule
from zoo.recipe import find_recipe

NAMES = zoo.list_models()
every_network = pytest.mark.parametrize("name", NAMES)


@functools.cache
def data_for(name: str) -> TensorDataModule:
    return data_of(name)


@functools.cache
def _network(name: str) -> ZooModule:
    torch.manual_seed(0)
    return zoo.create_model(name, datamodule=data_for(name))


def network(name: str) -> ZooModule:
    """Return a new network, in training mode, on its own data."""
    return copy.deepcopy(_network(name))


def batch(name: str, size: int = 16) -> tuple[Tensor, Tensor]:
    """Return the first training examples, or as many of them as there are."""
    x, y = data_for(name).splits["train"]
    index = torch.arange(min(size, len(x)))
    return x[index], y[index]


def trainable(model: ZooModule) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


@every_network
def test_outputs_have_the_shape_that_the_data_ask_for(name: str) -> None:
    model, data = network(name).eval(), data_for(name)
    x, _ = batch(name)
    logits = model(x)
    assert logits.shape == (len(x), data.num_outputs)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(model(model.example_input_array), model(model.example_input_array))
    if x.dtype == torch.uint8:  # floats from 0 to 1 are read as bytes from 0 to 255
        torch.testing.assert_close(model(x / 255), logits)


@every_network
def test_every_trainable_parameter_receives_a_gradient(name: str) -> None:
    model = network(name)
    x, y = batch(name)
    model.training_step((x, y), 0).backward()
    without = [n for n, p in trainable(model).items() if p.grad is None or not p.grad.any()]
    assert without == []


@every_network
def test_features_are_what_the_head_reads(name: str) -> None:
    model = network(name).eval()
    x, _ = batch(name)
    features = model.forward_features(x)
    assert features.shape == (len(x), model.get_head().in_features)
    torch.testing.assert_close(model.forward_head(features), model.logits(x))


@every_network
def test_a_new_head_is_untrained_and_the_rest_stays(name: str) -> None:
    model = network(name).eval()
    x, _ = batch(name)
    features = model.forward_features(x)
    is_regression = model.spec.task == "regression"
    old = model.get_head()
    model.reset_head(7, None if is_regression else list("abcdefg"))
    assert model.get_head() is not old
    assert model.get_head() is model.head
    assert all(p.requires_grad for p in model.get_head().parameters())
    assert model(x).shape == (len(x), 7)
    torch.testing.assert_close(model.forward_features(x), features)
    assert model.spec.task == ("regression" if is_regression else "multiclass")
    assert model.class_names == ([] if is_regression else list("abcdefg"))
    target = torch.zeros(len(x), 7) if is_regression else torch.arange(len(x)) % 7
    assert torch.isfinite(model.loss(model.logits(x), target))


@every_network
def test_a_frozen_backbone_keeps_every_number(name: str) -> None:
    """Parameters, moving averages and dropout: only the head learns."""
    model = network(name).freeze_backbone()
    head = {f"head.{n}" for n, _ in model.get_head().named_parameters()}
    assert set(trainable(model)) == head
    x, y = batch(name)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    optimizer = torch.optim.SGD(trainable(model).values(), lr=0.1)
    model.train()
    # Off behind a frozen backbone; the dropout of the outputs belongs to the head.
    torch.testing.assert_close(model.forward_features(x), model.forward_features(x))
    loss = model.training_step((x, y), 0)
    loss.backward()
    optimizer.step()
    kept = {n for n, t in model.state_dict().items() if n not in head}
    assert all(torch.equal(before[n], model.state_dict()[n]) for n in kept)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.LayerNorm):
            assert not layer.training

    model.unfreeze()
    assert model.frozen == []
    assert all(layer.training for layer in model.modules())


@every_network
def test_a_checkpoint_loads_with_weights_only(name: str, tmp_path: Path) -> None:
    model, data = network(name), data_for(name)
    options = {"limit_train_batches": 1, "limit_val_batches": 0, "enable_checkpointing": True}
    trainer, _ = fit(model, data, max_epochs=1, default_root_dir=tmp_path, **options)
    path = tmp_path / "network.ckpt"
    trainer.save_checkpoint(path)
    assert set(torch.load(path, weights_only=True)["state_dict"]) == set(model.state_dict())
    loaded = type(model).load_from_checkpoint(path, map_location="cpu", weights_only=True)
    assert loaded.frozen == model.frozen
    assert loaded.class_names == model.class_names
    x, _ = batch(name)
    torch.testing.assert_close(loaded.eval()(x), model.eval()(x))


@every_network
def test_weights_and_their_preprocessing_travel_together(name: str, tmp_path: Path) -> None:
    model = network(name).eval()
    card = zoo.save_weights(model, tmp_path / "network.safetensors")
    loaded = zoo.load_weights(tmp_path / "network.safetensors")
    x, _ = batch(name)
    torch.testing.assert_close(loaded(x), model(x))
    assert card.parameters == sum(p.numel() for p in model.parameters())
    assert loaded.spec.preprocessing == model.spec.preprocessing


# What one linear map of so few numbers cannot do, with the reason as the test's name.
EXEMPT = {
    "logistic_regression": "a-line-does-not-separate-xor",
    "sigmoid_neuron": "without-a-bias-its-answer-to-0-0-is-one-half",
}
# A linear map of n inputs fits n examples of whatever kind; a hidden layer of 3 not many more; a
# sigmoid under a squared error has all but no gradient where it is wrong.
FEW = {
    "sigmoid_mlp": 4,
    "sequential_sigmoid": 4,
    **{
        name: 4
        for name in NAMES
        if find_recipe(name).model.get("init_args", {}).get("activation") == "none"
    },
}


@pytest.mark.parametrize("name", [n for n in NAMES if n not in EXEMPT])
def test_it_learns_one_batch_by_heart(name: str) -> None:
    """All classes right, or 99 % of the targets' variance explained, with nothing dropped out."""
    model = without_dropout(network(name))
    x, y = batch(name, FEW.get(name, 16))
    assert mistakes_after_training(model, x, y) < 0.01


@pytest.mark.parametrize("name", [pytest.param(n, id=f"{n}-{why}") for n, why in EXEMPT.items()])
def test_what_the_documents_say_cannot_be_learned_is_not(name: str) -> None:
    model = network(name)
    x, y = batch(name)
    mistakes_after_training(model, x, y)
    # of four examples at least one stays no better than tossing a coin
    assert (torch.sigmoid(model(x)).flatten() - y).abs().max() >= 0.499


def without_dropout(model: ZooModule) -> ZooModule:
    for layer in model.modules():
        if isinstance(layer, nn.Dropout | nn.Dropout2d):
            layer.p = 0.0
        if isinstance(layer, nn.RNNBase):
            layer.dropout = 0.0
    return model


def mistakes_after_training(model: ZooModule, x: Tensor, y: Tensor, steps: int = 400) -> float:
    """Train on one batch alone; return the share of wrong classes, or of variance left over."""
    parameters = list(trainable(model).values())
    images_or_text = len(model.feature_shape) > 1
    optimizer = torch.optim.Adam(parameters, lr=0.003 if images_or_text else 0.02)
    for step in range(1, steps + 1):
        loss = model.loss(model.train().logits(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 20 == 0 and (left := mistakes(model, x, y)) < 0.01:
            return left
    return mistakes(model, x, y)


@torch.no_grad()
def mistakes(model: ZooModule, x: Tensor, y: Tensor) -> float:
    output = model.eval()(x)
    right = model.task.correct(output, y)
    if right is not None:
        return 1 - int(right.sum()) / len(x)
    return float((output - y).square().mean() / y.square().mean())
