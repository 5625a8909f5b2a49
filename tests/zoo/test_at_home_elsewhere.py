"""Our networks where others are at home: plain loops and loaders, scikit-learn, compile, pickle."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import zoo
from zoo import DataSpec
from zoo.architectures import ConvNet, FeedForward

SIDE = 16


def bars(count: int = 96) -> tuple[Tensor, Tensor]:
    """Return images (N, 1, 16, 16) uint8 with an upright (0) or a level bar (1)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 80, (count, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    y = torch.arange(count) % 2
    places = torch.randint(0, SIDE - 3, (count,), generator=generator).tolist()
    for image, label, place in zip(x, y.tolist(), places, strict=True):
        part = slice(place, place + 3)
        image[0, part if label else slice(None), slice(None) if label else part] = 250
    return x, y


def network(**options: Any) -> ConvNet:
    torch.manual_seed(0)
    spec = DataSpec((1, SIDE, SIDE), "multiclass", 2, ["up", "level"], {"kind": "pixels"})
    return ConvNet(spec, channels=[8, 8], **options)


def test_a_network_is_a_module_in_a_loop_by_hand() -> None:
    """Also as a part of another module, and by modules of torch alone."""
    x, y = bars()
    model = nn.Sequential(network(), nn.LogSoftmax(dim=1))
    optimizer, criterion = torch.optim.Adam(model.parameters(), lr=0.01), nn.NLLLoss()
    for _ in range(8):
        for rows, target in zip(x.split(32), y.split(32), strict=True):
            optimizer.zero_grad()
            criterion(model(rows), target).backward()
            optimizer.step()
    model.eval()
    assert (model(x).argmax(1) == y).float().mean() > 0.95


@pytest.mark.parametrize("as_float", [False, True], ids=["uint8", "float"])
def test_a_plain_loader_of_images_trains_validates_and_tests(as_float: bool) -> None:
    x, y = bars()
    x = x.float() / 255 if as_float else x
    loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
    held_out = DataLoader(TensorDataset(x, y), batch_size=32)
    model = network()
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = Trainer(max_epochs=8, accelerator="cpu", **quiet)
    trainer.fit(model.learn({"optimizer": adam(0.01)}), loader, held_out)
    assert trainer.test(model, held_out, verbose=False)[0]["accuracy/test"] > 0.95
    answers = trainer.predict(model, held_out)
    assert answers[0]["prediction"][:2] == ["up", "level"]


def adam(lr: float) -> dict[str, Any]:
    return {"class_path": "torch.optim.Adam", "init_args": {"lr": lr}}


def test_scikit_learn_scores_a_pipeline_with_it_by_cross_validation() -> None:
    skorch = pytest.importorskip("skorch")
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(0)
    x = random.normal(size=(150, 4)) * [1, 10, 100, 1]
    y = (x[:, 0] + x[:, 1] / 10 > 0).astype(np.int64)
    classifier = skorch.NeuralNetClassifier(
        FeedForward,
        module__spec=DataSpec((4,), "multiclass", 2),
        module__hidden_dim=16,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=0.02,
        max_epochs=15,
        batch_size=32,
        train_split=None,
        verbose=0,
    )
    pipeline = make_pipeline(StandardScaler(), classifier)
    assert cross_val_score(pipeline, x.astype(np.float32), y, cv=3).mean() > 0.85


def test_compiled_it_gives_the_same_and_learns() -> None:
    x, y = bars(32)
    model = network()
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))
    model.loss(compiled(x), y).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert network().load_state_dict(compiled.state_dict()).missing_keys == []


@pytest.mark.parametrize("name", ["conv_net", "mnist_lstm", "sentiment_bilstm", "backbone"])
def test_copies_are_copies(name: str) -> None:
    data = {"source": "synthetic"} if name != "sentiment_bilstm" else {}
    model = zoo.create_model(name, datamodule=zoo.create_datamodule(name, **data)).eval()
    x = model.example_input_array
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(again) is type(model)
        assert again.class_names == model.class_names
        torch.testing.assert_close(again(x), model(x))
        with torch.no_grad():
            next(again.head.parameters()).add_(1.0)
        assert not torch.equal(again(x), model(x))


def test_a_csv_logger_in_the_place_of_tensorboard(run_cli: Any) -> None:
    done = run_cli(
        *("fit", "--model", "xor_mlp", "--trainer.max_epochs", "20"),
        *("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "logs"),
    )
    assert done.status == 0, done.err
    (file,) = Path("logs").rglob("metrics.csv")
    metrics = pd.read_csv(file)
    assert {"loss/train", "loss/val", "accuracy/test"} <= set(metrics.columns)
    assert (Path("runs/xor_mlp/version_0") / "weights.safetensors").exists()
    assert "tensorboard --logdir" not in done.out
    assert not list(Path().rglob("events.out*"))
