"""torch.hub finds the networks in a checkout."""

from pathlib import Path

import torch

import zoo

FOLDER = str(Path(zoo.__file__).parent)


def test_lists_every_network():
    assert set(zoo.list_models()) <= set(torch.hub.list(FOLDER, source="local"))


def test_makes_a_network():
    model = torch.hub.load(FOLDER, "mnist_net", source="local")

    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_makes_a_network_for_other_classes():
    model = torch.hub.load(FOLDER, "mnist_net", source="local", classes=["even", "odd", "zero"])

    assert model.class_names == ["even", "odd", "zero"]
