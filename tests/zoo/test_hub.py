"""torch.hub finds the networks in a checkout."""

from pathlib import Path

import pytest
import torch

import zoo

FOLDER = str(Path(zoo.__file__).parent)


@pytest.mark.parametrize("name", ["mnist_net", "mnist_net.tuned"])
def test_makes_a_network(name):
    model = torch.hub.load(FOLDER, name, source="local")

    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_makes_a_network_for_other_classes():
    model = torch.hub.load(FOLDER, "mnist_net", source="local", classes=["even", "odd", "zero"])

    assert model.class_names == ["even", "odd", "zero"]
