"""Networks of others under our head: made by name, with weights of a file, loaded again."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import models
from torchvision.transforms.functional import normalize

import zoo
from zoo import DataSpec, UserError
from zoo.architectures import Backbone
from zoo.cards import METADATA_KEY, card_path
from zoo.explanation import explain
from zoo.loading.classes import trusting
from zoo.weights import save_weights

SMALL = "torchvision.models.shufflenet_v2_x0_5"
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NETWORK = """
from torch import nn
open({mark!r}, "w").close()
class Net(nn.Module):
    def __init__(self, width: int = 4):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3)
        self.out = nn.Linear(width, 5)
    def forward(self, x):
        return self.out(self.conv(x).relu().amax((2, 3)))
"""


def spec_of(channels: int, side: int = 64, **preprocessing: float) -> DataSpec:
    scaled = {"kind": "pixels", "mean": 0.0, "std": 1.0, **preprocessing}
    return DataSpec((channels, side, side), "multiclass", 3, ["a", "b", "c"], scaled)


@pytest.fixture(scope="module")
def theirs() -> torch.nn.Module:
    torch.manual_seed(1)
    network = models.shufflenet_v2_x0_5()
    for _ in range(30):  # until its batch norms know what they get
        network(torch.randn(8, 3, 40, 48) + 2 * torch.randn(8, 3, 1, 1))
    return network.eval()


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file that appears when the module `their_network` of this folder is imported."""
    monkeypatch.chdir(tmp_path)
    Path("their_network.py").write_text(NETWORK.format(mark=str(tmp_path / "mark")))
    monkeypatch.delitem(sys.modules, "their_network", raising=False)
    return tmp_path / "mark"


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("torchvision.models.resnet18", 512),
        ("mobilenet_v3_small", 1024),
        ("torchvision.models.densenet121", 1024),
        ("torchvision.models.squeezenet1_1", 1000),  # ends in a convolution: kept whole
        ("torchvision.models.googlenet", 1024),  # several outputs in training
        ("timm.resnet10t", 512),
        ("timm.convnext_atto.d2_in1k", 320),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_networks_of_torchvision_and_timm_give_features(
    name: str, features: int, channels: int
) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    elif channels == 4 and "densenet" not in name:
        return
    model = Backbone(spec_of(channels), name=name)
    assert model.head.in_features == features
    x = torch.randint(0, 256, (2, channels, 64, 64), dtype=torch.uint8)
    model.train()
    loss = model.loss(model(x), torch.tensor([0, 2]))
    loss.backward()
    assert model(x).shape == (2, 3)
    model.freeze_backbone()
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "head.weight",
        "head.bias",
    }


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", "module.pth", "whole.pth"])
def test_weights_of_a_file_give_its_features(
    theirs: torch.nn.Module, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, state = tmp_path / f"theirs{suffix}", theirs.state_dict()
    if suffix == ".safetensors":
        save_file(state, file)
    elif suffix == "module.pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, file)
    elif suffix == "whole.pth":
        torch.save(theirs, file)
        with pytest.raises(UserError, match="more than weights, which is not opened"):
            Backbone(spec_of(3), name=SMALL, weights=str(file))
        return
    else:
        torch.save(state, file)
    # Data that normalize themselves are not normalized twice.
    model = Backbone(spec_of(3, mean=0.3, std=0.2), name=SMALL, weights=str(file)).eval()
    assert "classifier (fc) left out" in capsys.readouterr().err
    x = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    whole = theirs.fc
    theirs.fc = torch.nn.Identity()
    try:
        expected = theirs(normalize(x / 255, *IMAGENET))
        torch.testing.assert_close(model.forward_features(x), expected)
        # A grey picture is the same as one of three equal channels.
        grey = Backbone(spec_of(1), name=SMALL, weights=str(file)).eval()
        expected = theirs(normalize(x[:, :1].expand(-1, 3, -1, -1) / 255, *IMAGENET))
        torch.testing.assert_close(grey.forward_features(x[:, :1]), expected)
    finally:
        theirs.fc = whole


def test_weights_that_do_not_fit_are_refused(theirs: torch.nn.Module, tmp_path: Path) -> None:
    state = theirs.state_dict()
    wrong: dict[str, Any] = {
        "lacks conv1.0.weight": {k: v for k, v in state.items() if k != "conv1.0.weight"},
        "has no layer9": {**state, "layer9.weight": torch.zeros(1)},
        "conv1.0.weight is": {**state, "conv1.0.weight": torch.zeros(5, 3, 3, 3)},
        "is no tensor": {"a": 1},
        "no state_dict": [1],
    }
    for number, (message, content) in enumerate(wrong.items()):
        torch.save(content, tmp_path / f"{number}.pth")
        with pytest.raises(UserError, match=message):
            Backbone(spec_of(3), name=SMALL, weights=str(tmp_path / f"{number}.pth"))
    with pytest.raises(UserError, match="no file of weights"):
        Backbone(spec_of(3), name=SMALL, weights=str(tmp_path / "none.pth"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "torchvision.models.resnet19"}, "Did you mean resnet1"),
        ({"name": "resnet1"}, "There is no network 'resnet1'"),
        ({"name": "torchvision.models.vit_b_32"}, "3 x 64 x 64: Wrong image"),
        ({"name": SMALL, "options": {"weights": "DEFAULT"}}, "the head is the zoo's"),
        ({"name": SMALL, "options": {"depth": 3}}, "cannot be made"),
        ({"name": "json.JSONDecoder"}, "is no Module"),
        ({"name": SMALL, "mean": [0.1, 0.2]}, "2 numbers, not 3"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_a_sentence(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Backbone(spec_of(3), **arguments)


def test_a_module_of_ones_own_and_its_pictures(mark: Path) -> None:
    model = zoo.create_model(
        "backbone", name="their_network.Net", options={"width": 6}, num_classes=3
    )
    assert model.head.in_features == 6
    assert model.backbone[1].conv.in_channels == 1
    colours = Backbone(spec_of(3), name="their_network.Net")
    assert colours(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    assert colours.backbone[1].conv.in_channels == 3
    assert explain(colours, torch.rand(1, 3, 64, 64)).shape == (1, 64, 64)


def test_from_a_folder_of_pictures_to_predictions(
    theirs: torch.nn.Module, tmp_path: Path, run_cli: Callable[..., Any], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(theirs.state_dict(), "theirs.pth")
    random = np.random.default_rng(0)
    for colour in range(3):
        Path(f"pictures/{'rgb'[colour]}").mkdir(parents=True)
        for number in range(8):
            pixels = random.integers(0, 120, (40, 48, 3), dtype=np.uint8)
            pixels[..., colour] += 120
            Image.fromarray(pixels).save(f"pictures/{'rgb'[colour]}/{number}.png")
    fitted = run_cli(
        "fit", "--model", "backbone", "--model.name", SMALL, "--model.weights", "theirs.pth",
        "--data", "images", "--data.path", "pictures", "--data.batch_size", "6",
        "--freeze", "backbone", "--lr", "1e-2",
        "--trainer.max_epochs", "20",
    )  # fmt: skip
    assert fitted.status == 0, fitted.err
    assert "weights of theirs.pth" in fitted.err
    Path("theirs.pth").unlink()  # what was read of it is in the run's weights
    run = "runs/backbone/version_0"
    said = run_cli("predict", "--weights", run, "--input", "pictures", "--output", "-")
    rows = [line.split(",")[:2] for line in said.out.splitlines()[1:]]
    assert len(rows) == 24
    assert sum(Path(file).parent.name == answer for file, answer in rows) > 20
    again = run_cli("fit", "--weights", run, "--trainer.max_epochs", "1")
    assert again.status == 0, again.err
    state = torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    loaded = Backbone.load_from_checkpoint(f"{run}/checkpoints/last.ckpt").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


# What a stranger's file may name


def strangers_file(folder: Path, **arguments: Any) -> Path:
    """Write weights whose metadata give a Backbone these arguments."""
    file = folder / "weights.safetensors"
    model = Backbone(spec_of(1), name="their_network.Net")
    save_weights(model, file)
    described = {
        "class_path": "zoo.architectures.Backbone",
        "arguments": {**{k: v for k, v in model.hparams.items() if k != "spec"}, **arguments},
        "spec": model.spec.plain(),
    }
    save_file(model.state_dict(), file, {METADATA_KEY: json.dumps(described)})
    card_path(file).unlink()
    sys.modules.pop("their_network")
    (folder / "mark").unlink()
    return file


def test_a_strangers_weights_import_nothing_until_they_are_allowed(mark: Path) -> None:
    file = strangers_file(mark.parent)
    with pytest.raises(UserError, match=r"names 'their_network\.Net'.*--trust"):
        zoo.load_weights(file)
    assert not mark.exists()
    model = zoo.load_weights(file, trust=["their_network.Net"])
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 3)
    assert mark.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "subprocess.Popen", "options": {"args": ["touch", "mark"]}}, "subprocess.Popen"),
        ({"name": "torch.nn.Sequential"}, "torch.nn.Sequential"),
        ({"name": SMALL, "options": {"weights": "DEFAULT"}}, "no numbers"),
        ({"name": "timm.resnet10t", "options": {"checkpoint_path": "/etc/passwd"}}, "."),
        ({"name": SMALL, "weights": "/etc/passwd"}, "another file to read"),
        ({"name": ["x"]}, "."),
        ({"name": "hf-hub:somebody/something"}, "."),
    ],
)
def test_what_a_strangers_weights_may_not_name(
    mark: Path, arguments: dict[str, Any], message: str, run_cli: Callable[..., Any]
) -> None:
    file = strangers_file(mark.parent, **arguments)
    for allowed in ([], ["their_network.Net"]):
        with pytest.raises(UserError, match=message):
            zoo.load_weights(file, trust=allowed)
    assert run_cli("fit", "--weights", file, "--data", "mnist").status == 2
    assert not mark.exists()


def test_a_strangers_checkpoint_names_no_module(mark: Path) -> None:
    model = Backbone(spec_of(1), name="their_network.Net")
    torch.save(
        {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams), "loops": {},
         "pytorch-lightning_version": "2.6.0"},
        "their.ckpt",
    )  # fmt: skip
    sys.modules.pop("their_network")
    mark.unlink()
    with pytest.raises(UserError, match=r"names 'their_network\.Net'"):
        Backbone.load_from_checkpoint("their.ckpt")
    assert not mark.exists()
    with trusting("their_network.Net"):
        assert Backbone.load_from_checkpoint("their.ckpt").head.in_features == 4
