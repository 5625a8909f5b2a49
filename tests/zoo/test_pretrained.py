"""Each shipped weights file is what its card says, and as good as its card says."""

import hashlib
import shutil

import pytest
import torch

import zoo
from zoo.cards import card_path, read_card
from zoo.evaluation import measure
from zoo.recipe import PRETRAINED

NAMES = zoo.list_models(pretrained=True)
# Logits differ between processors in the order of float32 sums.
GOLDEN_TOLERANCE = {"rtol": 1e-3, "atol": 1e-3}


def files(name):
    weights = PRETRAINED / f"{name}.safetensors"
    return weights, read_card(card_path(weights))


def test_there_are_weights_and_they_are_small():
    assert {"xor_mlp.documented", "fizzbuzz_net.tuned"} <= set(NAMES)
    assert sum(file.stat().st_size for file in PRETRAINED.iterdir()) < 25_000_000


@pytest.mark.parametrize("name", NAMES)
def test_file_equals_its_card(name):
    weights, card = files(name)
    content = weights.read_bytes()

    assert card.name == name
    assert hashlib.sha256(content).hexdigest() == card.sha256
    assert len(content) == card.bytes
    assert card.dataset["origin"] != "synthetic"
    assert all(len(over["values"]) >= 3 for over in card.seeds.values())


@pytest.mark.parametrize("name", NAMES)
def test_network_equals_its_card(name):
    _, card = files(name)
    model = zoo.create_model(name, pretrained=True)
    with torch.no_grad():
        logits = model.eval()(model.example_input_array)

    assert sum(p.numel() for p in model.parameters()) == card.parameters
    assert model.class_names == card.class_names
    assert list(model.spec.input_shape) == card.input_shape
    torch.testing.assert_close(logits, torch.tensor(card.golden_logits), **GOLDEN_TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_of_the_best_seed_on_validation_data(name):
    _, card = files(name)
    monitored = "accuracy/val" if "accuracy/val" in card.metrics else "loss/val"
    best = max if monitored.startswith("accuracy") else min

    assert card.metrics[monitored] == best(card.seeds[monitored]["values"])


@pytest.mark.real_data
@pytest.mark.parametrize("name", NAMES)
def test_recomputed_metrics_equal_the_card(name):
    weights, card = files(name)
    measured = measure(weights, ["test"])

    for metric, value in measured.items():
        assert value == pytest.approx(card.metrics[metric], abs=5e-5), metric


def test_flipped_byte_is_refused(tmp_path):
    weights, _ = files(NAMES[0])
    for file in (weights, card_path(weights)):
        shutil.copy(file, tmp_path)
    copy = tmp_path / weights.name
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(content)

    with pytest.raises(zoo.UserError, match="sha256"):
        zoo.load_weights(copy)


def test_pretrained_with_classes_gets_a_new_head_and_says_so(capsys):
    name = "fizzbuzz_net"
    classes = ["number", "fizz", "buzz", "fizzbuzz"]  # as many as before: still a new task
    shipped = zoo.create_model(name, pretrained=True)
    model = zoo.create_model(name, pretrained=True, classes=classes)

    assert "new head for 4 classes" in capsys.readouterr().err
    assert not torch.equal(model.head.weight, shipped.head.weight)
    torch.testing.assert_close(model.backbone.state_dict(), shipped.backbone.state_dict())


def test_architecture_opens_by_class():
    from zoo.architectures import FeedForward

    assert isinstance(FeedForward.from_pretrained("fizzbuzz_net"), FeedForward)


def test_architecture_of_another_class_is_refused():
    from zoo.architectures import ConvNet

    with pytest.raises(zoo.UserError, match="fizzbuzz_net is a FeedForward, not a ConvNet"):
        ConvNet.from_pretrained("fizzbuzz_net")


def test_save_pretrained_and_load_again(tmp_path):
    model = zoo.create_model("xor_mlp", pretrained=True)
    model.save_pretrained(tmp_path / "mine")
    again = zoo.load_weights(tmp_path / "mine")

    torch.testing.assert_close(again.state_dict(), model.state_dict())
