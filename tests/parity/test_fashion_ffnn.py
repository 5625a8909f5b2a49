"""Document 003, "Example: Classification with FashionMNIST": its plain loop against our recipe."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn, optim

from datamodules import FashionMNIST

SEEDS = range(5)
EPOCHS = 10


class FeedForwardNN(nn.Module):
    """The document's class: linear, dropout, ReLU, twice; then linear and log-softmax."""

    def __init__(
        self, input_size: int, num_classes: int, num_hidden: int, hidden_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.hidden_layers = nn.ModuleList([nn.Linear(input_size, hidden_dim)])
        for _ in range(num_hidden - 1):
            self.hidden_layers.append(nn.Linear(hidden_dim, hidden_dim))
        self.dropout = nn.Dropout(dropout)
        self.output_projection = nn.Linear(hidden_dim, num_classes)
        self.nonlinearity = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for hidden_layer in self.hidden_layers:
            x = self.nonlinearity(self.dropout(hidden_layer(x)))
        return F.log_softmax(self.output_projection(x), dim=-1)


def document_accuracy(data: FashionMNIST, seed: int) -> float:
    """Train as the document does, on all 60,000 images, and return the test accuracy.

    Its DataLoader is replaced by indexing, which gives the same batches in a third of the time; its
    evaluations every 500 updates are left out, as they change nothing.
    """
    torch.manual_seed(seed)
    x, y = (torch.cat([data.splits[s][i] for s in ("train", "val")]) for i in (0, 1))
    x = x.flatten(1).float() / 255
    net = FeedForwardNN(784, 10, num_hidden=2, hidden_dim=512, dropout=0.2)
    criterion = nn.NLLLoss()
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(x)).split(64):
            loss = criterion(net(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    test_x, test_y = data.splits["test"]
    with torch.no_grad():
        predicted = net(test_x.flatten(1).float() / 255).argmax(1)
    return (predicted == test_y).float().mean().item()


@pytest.mark.slow
@pytest.mark.real_data
def test_the_recipe_is_as_good_as_the_documents_loop(run_cli: Callable[..., Any]) -> None:
    data = FashionMNIST(source="real")
    document, ours = [], []
    for seed in SEEDS:
        document.append(document_accuracy(data, seed))
        result = run_cli(
            *("fit", "--model", "fashion_ffnn", "--data.source", "real"),
            *("--seed", seed, "--inspect", "none"),
        )
        assert result.status == 0, result.err
        card = json.loads((Path("runs/fashion_ffnn") / f"version_{seed}" / "card.json").read_text())
        ours.append(card["metrics"]["accuracy/test"])
        print(f"seed {seed}: document {document[-1]:.4f}, recipe {ours[-1]:.4f}", flush=True)
    for name, found in {"document": document, "recipe": ours}.items():
        print(f"{name}: mean {mean(found):.4f}, standard deviation {stdev(found):.4f}")
    # The recipe trains on 55,000 of the document's 60,000 images; the rest is its validation.
    error = ((stdev(document) ** 2 + stdev(ours) ** 2) / len(SEEDS)) ** 0.5
    assert abs(mean(ours) - mean(document)) < 3 * error
