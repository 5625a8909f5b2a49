"""Weights, cards and checkpoints of strangers: one clear error, before anything big is made."""

import gzip
import json
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from toy import Numbers, network, trainer

import zoo
import zoo.loading.checkpoints
from datamodules.idx import read_idx
from datamodules.plain import misfit
from zoo import DataSpec, UserError
from zoo.architectures import ConvNet, FeedForward, Recurrent
from zoo.cards import METADATA_KEY, read_card
from zoo.inputs import read_inputs
from zoo.weights import save_weights, to_bytes

pytestmark = pytest.mark.filterwarnings("ignore")
PIXELS = {"kind": "pixels", "mean": 0.3, "std": 0.5}
SPEC = DataSpec((1, 12, 12), "multiclass", 3, None, PIXELS)
NUMERIC = {"name": "a", "mean": 0.0, "std": 1.0}
CATEGORY = {"name": "b", "vocabulary": ["x", "y"], "codes": [0, 1]}
COLUMNS = [{"name": "a", "kind": "numeric"}, {"name": "b", "kind": "category"}]
TABLE = {"kind": "table", "columns": COLUMNS, "numeric": [NUMERIC], "categorical": [CATEGORY]}
NETWORKS: dict[str, Callable[[], Any]] = {
    "feedforward": lambda: FeedForward(SPEC, hidden_dim=8, num_hidden=2),
    "convolutional": lambda: ConvNet(SPEC, channels=[2], kernel_size=3),
    "recurrent": lambda: Recurrent(SPEC, hidden_dim=4),
    "table": lambda: FeedForward(DataSpec((2,), "binary", 1, None, TABLE), hidden_dim=4),
}
# Where in a file's description something else is put, and what.
HOSTILE: dict[str, list[tuple[str, Any]]] = {
    "feedforward": [
        ("arguments.layer_order", ["a"]),
        ("arguments.layer_order", "activation"),
        ("arguments.activation", True),
        ("arguments.activation", "softplus"),
        ("arguments.hidden_dim", 10**12),
        ("arguments.hidden_dim", -3),
        ("arguments.hidden_dim", "8"),
        ("arguments.hidden_dim", [8, 8.5]),
        ("arguments.num_hidden", 10**7),
        ("arguments.num_hidden", 10_000),
        ("arguments.num_hidden", 1e7),
        ("arguments.dropout", 7.0),
        ("arguments.norm", ["batch"] * 100_000),
        ("arguments.sizes", [[144]]),
        ("arguments.colour", "red"),
        ("arguments", ["hidden_dim"]),
        ("spec.num_outputs", -1),
        ("spec.num_outputs", 10**12),
        ("spec.num_outputs", 3.0),
        ("spec.input_shape", [1, 10**6, 10**6]),
        ("spec.input_shape", [1] * 100),
        ("spec.class_names", "abc"),
        ("spec.class_names", [["a"], ["b"], ["c"]]),
        ("spec.preprocessing", None),
        ("spec.preprocessing.kind", ["pixels"]),
        ("spec.preprocessing.mean", "0"),
        ("spec.preprocessing.target", {"mean": [1.0], "std": [1.0]}),
        ("spec.preprocessing", {"kind": "none", "binary_digits": 10**9}),
    ],
    "convolutional": [
        ("arguments.channels", [10**9]),
        ("arguments.channels", "ab"),
        ("arguments.channels", [2] * 10_000),
        ("arguments.kernel_size", 10**9),
        ("arguments.kernel_size", 0),
        ("arguments.grid", [10**5, 10**5]),
        ("arguments.grid", [2, "2"]),
    ],
    "recurrent": [
        ("arguments.num_layers", 10**9),
        ("arguments.hidden_dim", 10**9),
        ("arguments.cell", ["lstm"]),
        ("arguments.bidirectional", "no"),
    ],
    "table": [
        ("spec.preprocessing.categorical.0.codes", [0, 300_000_000]),
        ("spec.preprocessing.categorical.0.codes", [-1, 0]),
        ("spec.preprocessing.categorical.0.codes", [0]),
        ("spec.preprocessing.categorical.0.vocabulary", "xy"),
        ("spec.preprocessing.numeric.0.mean", None),
        ("spec.preprocessing.numeric.0.std", float("nan")),
        ("spec.preprocessing.numeric.0.name", "c"),
        ("spec.preprocessing.numeric", {}),
        ("spec.preprocessing.columns.0.parts", ["century"]),
        ("spec.preprocessing.columns.0.colour", "red"),
    ],
}


def changed(content: Any, path: str, value: Any) -> None:
    *way, last = (int(part) if part.isdigit() else part for part in path.split("."))
    for part in way:
        content = content[part]
    content[last] = value


@pytest.fixture(autouse=True)
def little_memory() -> Any:
    """Let this process have 2 GB of addresses more than it has: what spends more fails."""
    if sys.platform != "linux":
        yield
        return
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    allowed = pages * resource.getpagesize() + 2 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (allowed, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [(kind, *change) for kind, changes in HOSTILE.items() for change in changes],
    ids=lambda value: str(value)[:40],
)
def test_weights_are_read_before_they_are_believed(
    tmp_path: Path, kind: str, path: str, value: Any
) -> None:
    model = NETWORKS[kind]()
    arguments = {key: entry for key, entry in model.hparams.items() if key != "spec"}
    described = {
        "class_path": f"zoo.architectures.{type(model).__name__}",
        "arguments": arguments,
        "spec": json.loads(json.dumps(model.spec.plain())),
    }
    file = tmp_path / "net.safetensors"
    file.write_bytes(to_bytes(model))
    zoo.load_weights(file)
    changed(described, path, value)
    file.write_bytes(save(dict(model.state_dict()), {METADATA_KEY: json.dumps(described)}))
    with pytest.raises(UserError) as caught:
        zoo.load_weights(file)
    assert len(str(caught.value)) < 1000


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [400, 200_000])
def test_json_is_nested_without_end(tmp_path: Path, depth: int) -> None:
    file = tmp_path / "net.safetensors"
    for path in ("arguments", "spec", "input_shape"):
        described = {"class_path": "zoo.architectures.FeedForward", "arguments": {}, "spec": {}}
        text = json.dumps({**described, path: "HERE"}).replace('"HERE"', nested(depth))
        if path == "input_shape":
            text = json.dumps({**described, "spec": {path: "HERE"}})
            text = text.replace('"HERE"', nested(depth))
        file.write_bytes(save({"x": torch.zeros(1)}, {METADATA_KEY: text}))
        with pytest.raises(UserError):
            zoo.load_weights(file)
    header = nested(depth).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(UserError):
        zoo.load_weights(file)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", ["net"]),
        ("bytes", "10"),
        ("metrics", {"accuracy/test": "high"}),
        ("class_names", "abc"),
        ("input_shape", [1.5]),
        ("recipe", []),
        ("golden_logits", [0.5]),
        ("seeds", {"accuracy/test": 3}),
        ("dataset", {"name": 3}),
        ("colour", "red"),
    ],
)
def test_a_card_of_other_kinds_is_none(tmp_path: Path, path: str, value: Any) -> None:
    file = tmp_path / "net.safetensors"
    save_weights(NETWORKS["feedforward"](), file, name="net")
    card = file.with_suffix(".json")
    card.write_text(json.dumps({**json.loads(card.read_text()), path: value}))
    with pytest.raises(UserError, match="is not a card"):
        read_card(card)


# Checkpoints


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a checkpoint of a short training with a schedule holds."""
    folder = tmp_path_factory.mktemp("run")
    last = fit(folder, epochs=1)
    return torch.load(last, weights_only=True)


def fit(folder: Path, epochs: int, **options: Any) -> Path:
    model = network(Numbers())
    schedule = {"class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau", "init_args": {}}
    model.learn({"lr_scheduler": schedule})
    run = trainer(folder, epochs)
    run.fit(model, datamodule=Numbers(), weights_only=True, **options)
    run.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


LOOPS = "loops.fit_loop"
LOST = "lost"
WRONG: list[tuple[str, Any]] = [
    (LOOPS, []),
    (f"{LOOPS}.epoch_progress", 3),
    (f"{LOOPS}.epoch_progress", {"current": {"ready": "1"}}),
    (f"{LOOPS}.epoch_loop#batch_progress", {"total": {}, "current": {}}),
    (f"{LOOPS}.epoch_loop#batch_progress", None),
    (f"{LOOPS}.epoch_loop#state_dict", {"_batches_that_stepped": "5"}),
    (f"{LOOPS}.epoch_loop#state_dict", None),
    ("current_model_state", []),
    ("current_model_state", {"head.weight": {}}),
    ("hyper_parameters", LOST),
    ("lr_schedulers", LOST),
    ("optimizer_states", LOST),
    ("optimizer_states", [3]),
    ("optimizer_states.0.state", []),
    ("optimizer_states.0.state", {"x": {}}),
    ("optimizer_states.0.state.0.exp_avg", torch.zeros(3)),
    ("optimizer_states.0.state.0.exp_avg", torch.zeros(1).expand(10**9)),
    ("optimizer_states.0.state.0.step", "16"),
    ("optimizer_states.0.param_groups", {}),
    ("optimizer_states.0.param_groups.0.lr", "fast"),
    ("optimizer_states.0.param_groups.0.betas", [0.9]),
    ("optimizer_states.0.param_groups.0.params", [0]),
    ("optimizer_states.0.param_groups.0.params", True),
    ("optimizer_states.0.param_groups.0.params.0", -(2**70)),
    ("lr_schedulers.0.num_bad_epochs", "none"),
    ("lr_schedulers.0", []),
    ("train_sums", [1.0]),
    ("frozen", {"head": True}),
    ("frozen", [3]),
    ("epoch", "1"),
    ("state_dict.head#weight", torch.zeros(2, 4, device="meta")),
    ("Numbers", {"train": {"epoch": "1", "position": None}}),
]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=lambda value: str(value)[:50])
def test_a_training_goes_on_from_no_checkpoint_of_other_kinds(
    tmp_path: Path, checkpoint: dict[str, Any], path: str, value: Any
) -> None:
    content = torch.load(_saved(checkpoint, tmp_path / "whole.ckpt"), weights_only=True)
    *way, last = (int(p) if p.isdigit() else p.replace("#", ".") for p in path.split("."))
    part = content
    for key in way:
        part = part[key]
    part[last] = value
    if value is LOST:
        del part[last]
    with pytest.raises(UserError):
        go_on(_saved(content, tmp_path / "wrong.ckpt"))


def go_on(checkpoint: Path) -> None:
    zoo.loading.checkpoints.read_checkpoint(checkpoint)  # as `fit` does first
    fit(checkpoint.parent, 2, ckpt_path=checkpoint)


def _saved(content: dict[str, Any], path: Path) -> Path:
    torch.save(content, path)
    return path


def test_archives_that_grow_are_not_unpacked(tmp_path: Path, checkpoint: dict[str, Any]) -> None:
    from zoo.loading.checkpoints import read_checkpoint

    file = tmp_path / "last.ckpt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 10**8)
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(file)
    content = bytearray(_saved(checkpoint, file).read_bytes())
    for place in range(0, len(content), max(1, len(content) // 40)):
        flipped = bytes(content[:place]) + bytes([content[place] ^ 8]) + bytes(content[place + 1 :])
        file.write_bytes(flipped)
        try:
            found = read_checkpoint(file)
        except UserError:
            continue
        assert found.keys() == checkpoint.keys()  # a byte that nothing reads


def test_gzipped_images_that_grow_are_not_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "images.gz"
    file.write_bytes(gzip.compress(bytes(10**7)) * 300)  # 3 MB, 3 GB
    with pytest.raises(UserError):
        read_idx(file, 2051, (6, 5, 5))
    with pytest.raises(UserError, match="grows beyond"):
        read_inputs(SPEC, [str(file)])


def test_misfits_are_said_in_words() -> None:
    hint = dict[str, list[int] | None]
    assert misfit({"a": [1], "b": None}, hint, "x") == ""
    assert misfit({"a": [True]}, hint, "x") == "a part of x.a is true or false, not a whole number"
    assert misfit(3, str | None, "name") == "name is a whole number, not a text"
