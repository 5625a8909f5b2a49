"""What is fuzzed: for each kind of input something good, and what reads it."""

import contextlib
import functools
import io
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save

import zoo
from datamodules import Tabular
from datamodules.idx import read_idx
from datamodules.memory import as_datamodule
from mutations import JUNK, mutated, mutated_bytes
from zoo.architectures import ConvNet, FeedForward, Recurrent
from zoo.cards import METADATA_KEY, read_card
from zoo.cli import run_command
from zoo.errors import NotFiniteError, UserError
from zoo.loading.checkpoints import read_checkpoint
from zoo.recipe import RECIPES
from zoo.running.fitting import prepare
from zoo.running.training import Training
from zoo.weights import save_weights

Target = Callable[[Any], object]
PIXELS = {"kind": "pixels", "mean": 0.3, "std": 0.5}
TABLE = {
    "kind": "table",
    "columns": [{"name": "a", "kind": "numeric"}, {"name": "b", "kind": "category"}],
    "numeric": [{"name": "a", "mean": 0.0, "std": 1.0, "log": False, "indicator": True}],
    "categorical": [{"name": "b", "vocabulary": ["x", "y"], "codes": [0, 1], "missing": True}],
    "clip": 10.0,
    "missing": [],
    "target": {"names": ["y"]},
}
OPTIONS = (
    *("--model", "--data", "--weights", "--config", "--freeze", "--inspect", "--resume", "--name"),
    *("--checkpoint_every", "--overfit", "--model.hidden_dim", "--model.num_hidden", "--help"),
    *("--model.activation", "--model.dropout", "--learning.loss", "--learning.averaging", "-c"),
    *("--data.batch_size", "--data.path", "--data.val_size", "--trainer.max_epochs", "--lr"),
    *("--trainer.devices", "--trainer.callbacks", "--trainer.precision", "--optimizer", "--seed"),
    *("--optimizer.lr", "--lr_scheduler", "--lr_scheduler.T_max", "--pretrained", "--lr_find"),
    *(
        "--trust",
        "--list",
        "--target",
        "--epochs",
        "--batch_size",
        "--nonsense",
        "--trainer.nothing",
    ),
)
VALUES = (
    *("xor_mlp", "fashion_ffnn", "conv_net.tuned", "tabular_mlp", "mnist", "blobs", "gates", "3"),
    *(
        "0.1",
        "relu",
        "mse",
        "SGD",
        "Adam",
        "StepLR",
        "basic",
        "full,-graph",
        "none",
        "30s",
        "[8, 8]",
    ),
    *(
        "runs",
        "table.csv",
        "backbone",
        "cpu",
        "32-true",
        "null",
        "{a: 1}",
        "lightning.pytorch.Trainer",
    ),
)


def networks() -> list[Any]:
    """Return a small network of each family."""
    image = zoo.DataSpec((1, 12, 12), "multiclass", 3, None, PIXELS)
    words = {"kind": "tokens", "vocabulary": ["", "?", "good", "bad"], "embedding_dim": 3}
    return [
        FeedForward(image, hidden_dim=8, num_hidden=2, norm="batch"),
        ConvNet(image, channels=[2], kernel_size=3),
        Recurrent(image, hidden_dim=4),
        FeedForward(zoo.DataSpec((2,), "binary", 1, None, TABLE), hidden_dim=4),
        Recurrent(zoo.DataSpec((5,), "binary", 1, None, words), hidden_dim=4),
    ]


def targets(folder: Path) -> dict[str, Callable[[], Target]]:
    """Return what makes the function to call with something random, by the kind of input.

    Args:
        folder: Where files go; it is the working directory.
    """
    kinds = {
        "command lines": _command_lines,
        "recipes and configs": _recipes,
        "weights": _weights,
        "cards": _cards,
        "checkpoints": _checkpoints,
        "IDX": _idx,
        "CSV headers": _csv,
        "trainings": _trainings,
    }
    return {kind: functools.partial(make, folder) for kind, make in kinds.items()}


def _command(command: str, *argv: str) -> None:
    """Run a command; the user's mistakes end in status 2 and one line."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            run_command(command, *argv)
        except SystemExit as end:
            if end.code == 2 and not err.getvalue().count("error: "):
                raise AssertionError(f"status 2 without a word: {err.getvalue()}") from end
            if end.code not in (0, 2, None):
                raise AssertionError(f"status {end.code}: {err.getvalue()}") from end
            if end.code == 2:
                raise UserError(err.getvalue()) from end


def _command_lines(folder: Path) -> Target:
    (folder / "table.csv").write_text("a,b,y\n" + "1,x,0\n2,y,1\n" * 20)

    def call(rng: Any) -> None:
        argv = [] if rng.random() < 0.2 else ["--model", rng.choice(VALUES[:5])]
        for _ in range(rng.randint(0, 4)):
            value = str(rng.choice(VALUES if rng.random() < 0.6 else JUNK)).replace("\0", "")
            option = rng.choice(OPTIONS)
            argv += rng.choice(([option, value], [f"{option}={value}"], [option], [value]))
        command = rng.choice(("fit", "fit", "fit", "models", "evaluate", "predict"))
        _command(command, *argv, *(["--print_config"] if command == "fit" else []))

    return call


def _recipes(folder: Path) -> Target:
    texts = [path.read_text("utf-8") for path in sorted(RECIPES.glob("*.yaml"))]
    (folder / "runs").mkdir(exist_ok=True)

    def call(rng: Any) -> None:
        text = rng.choice(texts)
        content = yaml.safe_dump(mutated(yaml.safe_load(text), rng), allow_unicode=True).encode()
        if rng.random() < 0.4:
            content = mutated_bytes(text.encode(), rng)
        Path("own.yaml").write_bytes(content)
        how = ("--model", "own.yaml") if rng.random() < 0.5 else ("--config", "own.yaml")
        _command("fit", *how, "--print_config")

    return call


def _weights(folder: Path) -> Target:
    good = []
    for model in networks():
        described = {
            "class_path": f"zoo.architectures.{type(model).__name__}",
            "arguments": {k: v for k, v in model.hparams.items() if k != "spec"},
            "spec": json.loads(json.dumps(model.spec.plain())),
        }
        good.append((described, dict(model.state_dict())))

    def call(rng: Any) -> None:
        described, state = rng.choice(good)
        if rng.random() < 0.7:
            described = mutated(described, rng)
        content = save(state, {METADATA_KEY: json.dumps(described)})
        if rng.random() < 0.35:  # mostly in its header
            size = 8 + struct.unpack("<Q", content[:8])[0]
            content = mutated_bytes(content[:size], rng) + content[size:]
        Path("net.safetensors").write_bytes(content)
        loaded = zoo.load_weights("net.safetensors")
        loaded(loaded.example_input_array)

    return call


def _cards(folder: Path) -> Target:
    save_weights(networks()[0], folder / "good.safetensors", name="net", metrics={"loss/test": 0.5})
    text = (folder / "good.json").read_text()

    def call(rng: Any) -> None:
        content = json.dumps(mutated(json.loads(text), rng)).encode()
        if rng.random() < 0.4:
            content = mutated_bytes(text.encode(), rng)
        Path("good.json").write_bytes(content)
        card = read_card(Path("good.json"))
        assert isinstance(card.name, str)
        zoo.load_weights("good.safetensors")

    return call


def _blobs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64)


FEW: dict[str, Any] = {
    "limit_train_batches": 2,
    "limit_val_batches": 1,
    "logger": False,
    "accelerator": "cpu",
    "enable_progress_bar": False,
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _fit(root: str, **options: Any) -> Any:
    given = {"model": "binary_mlp", "data": _blobs(), "inspect": "none", "max_epochs": 2, **FEW}
    with _quiet():
        return zoo.fit(**{**given, **options}, default_root_dir=root)


def _checkpoints(folder: Path) -> Target:
    schedule = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1}}
    run = _fit(str(folder / "first"), lr_scheduler=schedule, learning={"averaging": 0.5})
    good = run.folder / "checkpoints" / "last.ckpt"
    content = torch.load(good, weights_only=True)
    # Read once: that takes longer than the two updates that come of it.
    settings, *_ = prepare(
        {**{f"trainer.{key}": value for key, value in FEW.items()}, "trainer.max_epochs": 3}
        | {"ckpt_path": "bad.ckpt", "trainer.default_root_dir": "then"},
        model="binary_mlp",
        data=_blobs(),
        lr_scheduler=schedule,
        learning={"averaging": 0.5},
    )

    def call(rng: Any) -> None:
        if rng.random() < 0.3:
            Path("bad.ckpt").write_bytes(mutated_bytes(good.read_bytes(), rng))
        else:
            torch.save(mutated(content, rng), "bad.ckpt")
        found = read_checkpoint("bad.ckpt")
        if "hyper_parameters" in found:
            type(run.model).load_from_checkpoint("bad.ckpt")
        if rng.random() < 0.3:  # many times as long
            # What is not finite, such as a rate, is said.
            with _quiet(), contextlib.suppress(NotFiniteError):
                Training(settings, as_datamodule(_blobs()), "none").fit()

    return call


def _idx(folder: Path) -> Target:
    images = struct.pack(">4i", 2051, 6, 5, 5) + bytes(range(150))
    labels = struct.pack(">2i", 2049, 6) + bytes(range(6))

    def call(rng: Any) -> None:
        if rng.random() < 0.5:
            Path("images").write_bytes(mutated_bytes(images, rng))
            read_idx(Path("images"), 2051, (6, 5, 5))
        else:
            Path("labels").write_bytes(mutated_bytes(labels, rng))
            read_idx(Path("labels"), 2049, (6,))

    return call


def _csv(folder: Path) -> Target:
    rows = "".join(f"{i},{i * 0.5},{'xyz'[i % 3]},2024-01-{i + 1:02d},{i % 2}\n" for i in range(28))
    header = "number,half,letter,day,target\n"

    def call(rng: Any) -> None:
        changed = mutated_bytes(header.encode(), rng)
        if rng.random() < 0.3:
            changed, body = header.encode(), mutated_bytes(rows.encode(), rng)
        else:
            body = rows.encode()
        Path("own.csv").write_bytes(changed + body)
        data = Tabular(path="own.csv", target="target")
        data.setup("fit")

    return call


def _trainings(folder: Path) -> Target:
    choices: dict[str, tuple[Any, ...]] = {
        "model.hidden_dim": (1, 3, [4], [4, 2], 0, -1, "x", []),
        "model.activation": ("relu", "none", "softmax", "prelu", "x"),
        "model.norm": ("batch", "layer", ["batch"], "x"),
        "model.dropout": (0.0, 0.5, 1.0, 1.5, -1),
        "data.batch_size": (1, 7, 64, 10**6, 0),
        "learning.averaging": (0.5, 0.99, 1.0, 2),
        "learning.label_smoothing": (0.1, 1.0),
        "learning.freeze": (["backbone"], ["head*"], ["nothing"], "backbone"),
        "learning.head_lr": (0.1, 0.0, -1),
        "learning.layer_decay": (0.5, 0.0),
        "optimizer": ("SGD", "Adam", "LBFGS", "Rprop", "Adafactor", "SparseAdam", "x"),
        "lr_scheduler": ("StepLR", "OneCycleLR", "zoo.optimization.Cosine", "CyclicLR", "x"),
        "optimizer.lr": (0.1, 1e9, 0.0, -1),
        "trainer.max_epochs": (1, 2, 0, -2),
        "trainer.accumulate_grad_batches": (2, 100, 0),
        "trainer.gradient_clip_val": (0.5, -1),
        "trainer.val_check_interval": (1, 0.5, 3, 10**6),
        "trainer.overfit_batches": (1, 0.5, 10**6),
        "trainer.precision": ("bf16-true", "16-mixed", "64-true", "x"),
        "trainer.limit_val_batches": (0, 1.0, 2.0),
        "seed_everything": (0, 2**32, -1),
    }

    def call(rng: Any) -> None:
        names = rng.sample(list(choices), rng.randint(0, 4))
        settings = {name: rng.choice(choices[name]) for name in names}
        model = rng.choice(("binary_mlp", "xor_mlp", "fashion_ffnn", "dropout_mlp", "tabular_mlp"))
        with contextlib.suppress(NotFiniteError):  # it is said
            _fit("runs", model=model, settings=settings)

    return call
