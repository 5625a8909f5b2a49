"""A network of a small table, trained by hand."""

import torch

from zoo.architectures import FeedForward
from zoo.weights import save_weights

N = 120


def trained(data, tmp_path, steps=60):
    data.setup()
    torch.manual_seed(0)
    model = FeedForward(data.spec, hidden_dim=32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    x, y = data.splits["train"]
    for _ in range(steps):
        loss = model.loss(model.logits(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_weights(model.eval(), tmp_path / "w.safetensors")
    return model


def told(run_cli, weights, frame, **options):
    """Return what `predict` says on standard error about each column of a table."""
    frame.to_csv("new.csv", index=False, **options)
    result = run_cli("predict", "--weights", weights, "--input", "new.csv", "--output", "o.csv")
    assert result.status == 0, result.err
    lines = [line for line in result.err.splitlines() if line.startswith("warning: ")]
    assert all(line.startswith("warning: new.csv, column '") for line in lines)
    return {line.split("'")[1]: line for line in lines}
