"""What a weights file names is not run; classes that the user trusts are.

Every payload leaves a mark when it runs: a file that must not be there afterwards.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile import QUICK, SPEC, Run, touch, write_weights
from safetensors.torch import save

import zoo
from zoo import UserError
from zoo.architectures import FeedForward
from zoo.cards import METADATA_KEY
from zoo.weights import save_weights

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    "class_path",
    [
        "payload.Net",
        "unittest.__main__.Net",
        "venv.__main__.Net",
        "subprocess.Popen",
        "builtins.exec",
        "zoo.ZooModule",
        "zoo.module.ZooModule",
        "zoo.loading.classes.importlib.import_module",
        "zoo.cli.browser.subprocess.Popen",
        "zoo.architectures.os.system",
        "zoo.architectures.importlib.import_module",
        "zoo.architectures.feedforward.nn.Module",
        "zoo.architectures.feedforward.ZooModule",
        "zoo.architectures.FeedForward.from_pretrained",
        "zoo.architectures..payload.Net",
        "zoo.architectures.FeedForward\n",
        "datamodules.base.os.system",
        "datamodules.MNIST",
        "torch.optim.SGD",
        "..payload.Net",
        "Net",
        "",
        3,
        None,
        ["payload.Net"],
        {"class_path": "payload.Net"},
    ],
)
def test_a_weights_file_imports_and_calls_nothing(mark: Path, class_path: Any) -> None:
    file = write_weights(Path("net.safetensors"), class_path, {"mark": str(mark)})
    strangers = ("payload", "unittest.__main__", "venv", "venv.__main__")
    before = [name for name in strangers if name in sys.modules]
    with pytest.raises(UserError):
        zoo.load_weights(file)
    assert not mark.exists()
    assert [name for name in strangers if name in sys.modules] == before


@pytest.mark.parametrize(
    "argv",
    [
        ("evaluate", "net.safetensors"),
        ("predict", "--weights", "net.safetensors", "--input", "table.csv"),
        ("ship", "run", "run", "run"),
        ("fit", "--model", "xor_mlp", *QUICK, "--learning.teacher", "net.safetensors"),
    ],
    ids=lambda argv: argv[0],
)
def test_no_command_imports_what_a_weights_file_names(mark: Path, run_cli: Run, argv: Any) -> None:
    for path in ("net.safetensors", "run/weights.safetensors"):
        write_weights(Path(path), "payload.Net")
    Path("table.csv").write_text("a,b\n1,2\n")
    result = run_cli(*argv)
    assert result.status == 2
    assert not mark.exists()
    if argv[0] in ("predict", "fit"):  # the others miss the card first
        assert "names 'payload.Net'" in result.err
        assert "--trust payload.Net" in result.err


def test_a_class_that_is_trusted_by_name_is_loaded(mark: Path) -> None:
    file = write_weights(Path("net.safetensors"), "payload.Net")
    with pytest.raises(UserError, match=r"does not fit Net"):
        zoo.load_weights(file, trust=["payload.Net"])
    assert mark.exists()


def test_trust_is_of_one_class_and_one_call(mark: Path) -> None:
    file = write_weights(Path("net.safetensors"), "payload.Net")
    for trust in (["payload.Other"], ["payload"], "payload", ["my.payload.Net"], []):
        with pytest.raises(UserError, match="does not define"):
            zoo.load_weights(file, trust=trust)
    other = write_weights(Path("other.safetensors"), "payload.Other")
    with pytest.raises(UserError):
        zoo.load_weights(other, trust=["subprocess.Popen"])
    assert not mark.exists()


def test_what_is_trusted_is_a_network_all_the_same(mark: Path) -> None:
    file = write_weights(
        Path("net.safetensors"), "subprocess.Popen", {"args": ["touch", str(mark)]}
    )
    with pytest.raises(UserError, match="is no Network"):
        zoo.load_weights(file, trust=["subprocess.Popen"])
    assert not mark.exists()


class Own(FeedForward):
    """A network of the caller's, in no module that could be imported by name."""


def test_a_class_itself_can_be_trusted(mark: Path) -> None:
    model = Own(SPEC, hidden_dim=3)
    save_weights(model, "net.safetensors")
    with pytest.raises(UserError, match="trust="):
        zoo.load_weights("net.safetensors")
    assert type(zoo.load_weights("net.safetensors", trust=[Own])) is Own
    assert type(zoo.load_weights("net.safetensors", trust=Own)) is Own
    assert type(Own.from_pretrained("net.safetensors")) is Own
    with pytest.raises(UserError, match="trust="):
        FeedForward.from_pretrained("net.safetensors")


def test_a_teacher_is_trusted_where_the_network_is_made(mark: Path) -> None:
    data = zoo.create_datamodule("mnist", source="synthetic")
    save_weights(Own(data.spec, hidden_dim=3), "net.safetensors")
    options = {"datamodule": data, "learning": {"teacher": "net.safetensors"}}
    with pytest.raises(UserError, match="trust="):
        zoo.create_model("mnist_net", **options)
    assert zoo.create_model("mnist_net", **options, trust=[Own])._distillation is not None


def test_class_paths_inside_a_networks_arguments_stay_data(mark: Path) -> None:
    nested = {"kind": "none", "class_path": "payload.Net", "nested": [touch(mark)]}
    described = {
        "class_path": "zoo.architectures.FeedForward",
        "arguments": {},
        "spec": {**SPEC.plain(), "preprocessing": nested},
        "optimizer": touch(mark),
        "learning": {"teacher": "payload.Net"},
    }
    path = Path("net.safetensors")
    path.write_bytes(save(FeedForward(SPEC).state_dict(), {METADATA_KEY: json.dumps(described)}))
    model = zoo.load_weights(path)
    assert (model.learning.optimizer, model.learning.teacher) == (None, None)
    model.configure_optimizers()
    assert not mark.exists()
