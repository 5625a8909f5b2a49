"""Files as strangers would write them. Every payload leaves a mark when it runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save

from datamodules.spec import DataSpec
from zoo.cards import METADATA_KEY

Run = Callable[..., Any]
SPEC = DataSpec((4,), num_outputs=2)
ROOT = Path(__file__).parents[2]

PAYLOAD = """
from pathlib import Path
MARK = Path({mark!r})
MARK.touch()
from zoo import ZooModule

class Net(ZooModule):
    pass

def data(**options):
    MARK.touch()
"""
# Short runs of a network that takes a second.
QUICK = ("--inspect", "none", "--trainer.max_epochs", 1, "--trainer.limit_train_batches", 5)


def touch(mark: Path) -> dict[str, Any]:
    """Return what makes a mark where anything at all is called that a file names."""
    return {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(mark)]}}


def write_weights(path: Path, class_path: Any, arguments: Any = None) -> Path:
    described = {"class_path": class_path, "arguments": arguments or {}, "spec": {}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save({"x": torch.zeros(1)}, {METADATA_KEY: json.dumps(described)}))
    return path


def change_card(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    card = json.loads((run / "card.json").read_text())
    change(card)
    (run / "card.json").write_text(json.dumps(card))


def write_recipe(path: Path, **change: Any) -> Path:
    content = {
        "model": {"class_path": "zoo.architectures.FeedForward", "init_args": {}},
        "data": {"class_path": "datamodules.LogicGate", "init_args": {}},
        **change,
    }
    path.write_text(yaml.safe_dump(content))
    return path
