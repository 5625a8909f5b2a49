"""The networks made for tables: what is taken without --model, and what members of one share."""

from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import zoo
from datamodules.spec import DataSpec
from zoo.architectures import TabularNet
from zoo.architectures.tabular import MemberLinear, NumberEmbedding
from zoo.cli.request import parse_request

TASKS = {"binary": 1, "multiclass": 3, "regression": 2}


def network(task: str = "multiclass", **options: int) -> TabularNet:
    torch.manual_seed(0)
    spec = DataSpec(input_shape=(5,), task=task, num_outputs=TASKS[task])
    return TabularNet(spec, hidden_dim=16, num_hidden=2, **options)


def batch(task: str) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    if task == "regression":
        return x, x[:, :2] ** 2
    return x, (x[:, 0] > 0).to(torch.float32 if task == "binary" else torch.int64)


@pytest.mark.parametrize(
    "data", [["--data", "csv", "--data.path", "my.csv"], ["--data", "my.tsv"]], ids=" ".join
)
def test_it_is_what_a_table_gets_without_a_model(data: list[str]) -> None:
    assert parse_request([*data, "--data.target", "y"]).recipe.name == "tabular_net"
    assert parse_request([*data, "--model", "tabular_mlp"]).recipe.name == "tabular_mlp"


def test_a_frame_gets_it_in_python_too(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": range(60), "b": [i % 7 for i in range(60)], "y": ["no", "yes"] * 30})
    options = {"inspect": "none", "max_epochs": 1, "default_root_dir": tmp_path}
    assert isinstance(zoo.fit(data=frame, target="y", **options).model, TabularNet)


def test_waves_let_a_linear_layer_follow_a_curve() -> None:
    torch.manual_seed(0)
    x = torch.linspace(-2, 2, 200)[:, None]
    y = torch.sin(3 * x)

    def unexplained(features: torch.Tensor) -> float:
        features = torch.cat([features, torch.ones(len(x), 1)], dim=1).double()
        weights = torch.linalg.lstsq(features, y.double()).solution
        return float(((features @ weights - y) ** 2).mean() / y.var())

    plain = NumberEmbedding(1, frequencies=16, embedding_dim=1, sigma=0.5)
    waves = NumberEmbedding(1, frequencies=16, embedding_dim=8, sigma=0.5)
    assert unexplained(plain(x)) > 0.5
    assert unexplained(waves(x).detach()) < 0.05


@pytest.mark.parametrize("task", TASKS)
def test_a_prediction_is_the_mean_of_the_members_probabilities(task: str) -> None:
    model, (x, _) = network(task, members=4).eval(), batch(task)
    members = model.head(model.forward_features(x))
    assert members.shape == (len(x), 4, TASKS[task])
    assert (members.std(dim=1) > 0).all()  # they differ
    mean = model.task.outputs(members.flatten(0, 1)).unflatten(0, (len(x), 4)).mean(dim=1)
    torch.testing.assert_close(model.task.outputs(model.logits(x)), mean)


@pytest.mark.parametrize("task", TASKS)
def test_the_training_loss_is_the_mean_of_the_members_losses(task: str) -> None:
    model, (x, y) = network(task, members=4, dropout=0).train(), batch(task)
    members = model.head(model.forward_features(x)).unbind(dim=1)
    mean = torch.stack([model.loss(logits, y) for logits in members]).mean()
    torch.testing.assert_close(model.training_step((x, y), 0), mean)


def test_class_weights_count_for_every_member() -> None:
    model, (x, y) = network("multiclass", members=4, dropout=0).train(), batch("multiclass")
    model.learn({"class_weights": [3.0, 1.0, 1.0]})
    members = model.head(model.forward_features(x)).unbind(dim=1)
    weights = torch.tensor([3.0, 1.0, 1.0])[y]
    losses = [(F.cross_entropy(m, y, reduction="none") * weights).sum() for m in members]
    expected = torch.stack(losses).mean() / weights.sum()
    torch.testing.assert_close(model.training_step((x, y), 0), expected)


def test_members_share_the_matrices() -> None:
    sizes = {k: sum(p.numel() for p in network(members=k).parameters()) for k in (1, 2, 16)}
    assert sizes[16] - sizes[2] < 14 * sizes[1] / 4
    layer = MemberLinear(6, 3, members=2, signs=True)
    x = torch.randn(5, 6)
    for k, out in enumerate(layer(x).unbind(dim=1)):
        weight = layer.weight * layer.outputs[k][:, None] * layer.inputs[k]
        torch.testing.assert_close(out, F.linear(x, weight, layer.biases[k]))


@pytest.mark.parametrize("option", ["members", "frequencies", "embedding_dim"])
def test_numbers_out_of_range_are_refused_by_name(option: str) -> None:
    with pytest.raises(zoo.UserError, match=f"--model.{option} must be at least 1, not 0"):
        network(**{option: 0})
