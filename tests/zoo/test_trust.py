"""Nothing that strangers' files name is run; what a user names is of the kind that its place takes.

Every payload leaves a mark when it runs: a file that must not be there afterwards.
"""

import json
import os
import pickle
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save
from toy import Numbers, network, trainer

import zoo
from datamodules.spec import DataSpec
from zoo import UserError
from zoo.architectures import FeedForward
from zoo.callbacks.checkpoints import KeepBest
from zoo.cards import METADATA_KEY
from zoo.run_recipe import choose_recipe
from zoo.weights import save_weights

pytestmark = pytest.mark.filterwarnings("ignore")
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


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mark that `payload` leaves when it is imported, as it can be from anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "payload", raising=False)
    path = tmp_path / "mark"
    importable = tmp_path / "importable"
    importable.mkdir()
    (importable / "payload.py").write_text(PAYLOAD.format(mark=str(path)))
    monkeypatch.syspath_prepend(importable)
    return path


def touch(mark: Path) -> dict[str, Any]:
    """Return what makes a mark where anything at all is called that a file names."""
    return {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(mark)]}}


def write_weights(path: Path, class_path: Any, arguments: Any = None) -> Path:
    described = {"class_path": class_path, "arguments": arguments or {}, "spec": {}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save({"x": torch.zeros(1)}, {METADATA_KEY: json.dumps(described)}))
    return path


@pytest.fixture
def xor_run(mark: Path, run_cli: Run) -> Path:
    """A finished run, to be changed as a stranger would."""
    result = run_cli("fit", "--model", "xor_mlp", *QUICK)
    assert result.status == 0, result.err
    return Path("runs/xor_mlp/version_0")


def change_card(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    card = json.loads((run / "card.json").read_text())
    change(card)
    (run / "card.json").write_text(json.dumps(card))


# Weights


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
        "zoo.classes.importlib.import_module",
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


# Cards


@pytest.mark.parametrize(
    "data",
    [
        "payload.data",
        {"class_path": "payload.data"},
        {"class_path": "payload.Net", "init_args": {}},
        {"class_path": "unittest.__main__.Data"},
        {"class_path": "datamodules.base.os.system", "init_args": {"command": "touch mark"}},
        {"class_path": "datamodules.base.LightningDataModule"},
        {"class_path": "datamodules.augment.RandomShift"},
        {"class_path": "datamodules.images.datasets.MNIST", "init_args": {"root": "mark"}},
        {"class_path": ["datamodules.LogicGate"]},
        {"class_path": "datamodules.LogicGate", "init_args": ["touch"]},
        {"init_args": {}},
        [],
        3,
        None,
    ],
)
def test_a_card_names_data_and_nothing_else(xor_run: Path, run_cli: Run, data: Any) -> None:
    change_card(xor_run, lambda card: card["recipe"].update(data=data))
    result = run_cli("evaluate", xor_run)
    assert result.status == 2
    assert result.err.startswith("error: ")
    assert not Path("mark").exists()
    assert "payload" not in sys.modules


@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: [x], lambda x: {"a": x}, lambda x: [{"a": [x]}]]
)
@pytest.mark.parametrize("group", ["init_args", "dict_kwargs"])
@pytest.mark.parametrize("argument", ["gate", "batch_size", "augment", "seed"])
def test_classes_in_a_cards_data_arguments_are_not_called(
    xor_run: Path, run_cli: Run, wrap: Callable, group: str, argument: str
) -> None:
    for spec in (touch(Path("mark").absolute()), {"class_path": "payload.Net"}):
        change_card(
            xor_run, lambda c, s=spec: c["recipe"]["data"].update({group: {argument: wrap(s)}})
        )
        for command in (("evaluate", xor_run), ("ship", xor_run, xor_run, xor_run)):
            run_cli(*command)
        assert not Path("mark").exists()
        assert "payload" not in sys.modules


def test_the_rest_of_a_cards_recipe_is_only_words(xor_run: Path, run_cli: Run) -> None:
    mark = Path("mark").absolute()
    named = {
        "optimizer": touch(mark),
        "lr_scheduler": touch(mark),
        "model": touch(mark),
        "trainer": {"callbacks": [touch(mark)], "logger": touch(mark), "strategy": "payload.Net"},
    }
    change_card(xor_run, lambda card: card["recipe"].update(named))
    assert run_cli("evaluate", xor_run).status == 0
    assert not mark.exists()
    assert "payload" not in sys.modules


def with_arguments(key: str, class_path: str, **arguments: Any) -> dict[str, Any]:
    return {key: {"class_path": class_path, "init_args": arguments}}


SCHEDULES = "torch.optim.lr_scheduler"


@pytest.mark.parametrize(
    "named",
    [
        {"optimizer": "payload.Net"},
        {"optimizer": {"class_path": "payload.Net"}},
        with_arguments("optimizer", "torch.optim.SGD", lr="payload.Net"),
        {"lr_scheduler": "payload.Net"},
        with_arguments("lr_scheduler", f"{SCHEDULES}.LambdaLR", lr_lambda="payload.data"),
        with_arguments("lr_scheduler", f"{SCHEDULES}.LambdaLR", lr_lambda=["os.system"]),
        with_arguments("lr_scheduler", f"{SCHEDULES}.CyclicLR", scale_fn="payload.data"),
        with_arguments("data", "datamodules.MNIST", augment=["payload.Net"]),
        with_arguments("data", "datamodules.MNIST", augment='[{"class_path": "payload.Net"}]'),
        with_arguments("data", "datamodules.MNIST", augment=[{"class_path": "payload.Net"}]),
        {"model": "payload.Net"},
        {"model": {"class_path": "payload.Net"}},
    ],
)
def test_a_training_that_starts_from_weights_alone_runs_nothing_of_their_card(
    xor_run: Path, run_cli: Run, named: dict[str, Any]
) -> None:
    change_card(xor_run, lambda card: card["recipe"].update(named))
    result = run_cli("fit", "--weights", xor_run, *QUICK)
    assert result.status == 2, result.out
    assert result.err.startswith("error: ")
    assert not Path("mark").exists()
    assert "payload" not in sys.modules


def test_a_training_that_starts_from_weights_alone_writes_where_the_user_says(mark: Path) -> None:
    Path("table.csv").write_text("a,b\n" + "1,0\n2,1\n" * 30)
    options = {"batch_size": 8, "path": "table.csv", "target": "b", "cache": "yes"}
    settings = {f"data.{name}": value for name, value in options.items()}
    run = zoo.fit("tabular_mlp", inspect="none", max_epochs=1, settings=settings)
    theirs = {"cache_dir": "theirs"}
    change_card(run.folder, lambda c: c["recipe"]["data"]["init_args"].update(theirs))
    assert choose_recipe(weights=str(run.folder)).data["init_args"].keys() & theirs.keys() == set()


def test_a_cards_name_leads_nowhere(xor_run: Path, run_cli: Run) -> None:
    change_card(xor_run, lambda card: card.update(name="../../outside"))
    result = run_cli("evaluate", xor_run)
    assert result.status == 2
    assert "'../../outside'" in result.err


def test_trusted_data_of_a_card_are_made(mark: Path, run_cli: Run, tmp_path: Path) -> None:
    (tmp_path / "my_gates.py").write_text(
        "from datamodules import LogicGate\nclass Gates(LogicGate):\n    pass\n"
    )
    (tmp_path / "own.yaml").write_text(
        "model: {class_path: zoo.architectures.FeedForward}\ndata: {class_path: my_gates.Gates}\n"
    )
    assert run_cli("fit", "--model", "own.yaml", *QUICK).status == 0
    result = run_cli("evaluate", "runs/own/version_0")
    assert result.status == 2
    assert "--trust my_gates.Gates" in result.err
    trusted = ("--trust", "my_gates.Gates")
    assert run_cli("evaluate", "runs/own/version_0", *trusted).status == 0
    assert run_cli("evaluate", "runs/own/version_0").status == 2, "trust lasts for one command"


def test_a_card_does_not_say_where_to_write_or_clear_up(mark: Path) -> None:
    from zoo.cards import Card
    from zoo.evaluation import data_of

    Path("table.csv").write_text("a,b\n" + "1,0\n2,1\n" * 30)
    options = {"path": "table.csv", "target": "b", "cache": "yes", "cache_dir": "theirs"}
    recipe = {"data": {"class_path": "datamodules.Tabular", "init_args": options}}
    data_of(Card("x", "", 0, 0, [1], [], recipe=recipe)).setup()
    assert not Path("theirs").exists()


# Recipes and configurations


def write_recipe(path: Path, **change: Any) -> Path:
    content = {
        "model": {"class_path": "zoo.architectures.FeedForward", "init_args": {}},
        "data": {"class_path": "datamodules.LogicGate", "init_args": {}},
        **change,
    }
    path.write_text(yaml.safe_dump(content))
    return path


def in_data(argument: str, value: Any) -> dict[str, Any]:
    options = {"source": "synthetic", argument: value}
    return {"data": {"class_path": "datamodules.MNIST", "init_args": options}}


def wrong_kinds(mark: Path) -> dict[str, dict[str, Any]]:
    """Return recipes that name something of another kind than the place takes."""
    popen = touch(mark)
    flip = "datamodules.augment.HorizontalFlip"
    return {
        "model": {"model": popen},
        "model that is a function": {"model": {"class_path": "payload_f.data"}},
        "model that is data": {"model": {"class_path": "datamodules.LogicGate"}},
        "data": {"data": popen},
        "data that is a function": {"data": {"class_path": "payload_f.data"}},
        "augment": in_data("augment", [popen]),
        "augment, a function": in_data("augment", [{"class_path": "payload_f.data"}]),
        "augment, inside another": in_data(
            "augment", [{"class_path": flip, "init_args": {"p": popen}}]
        ),
        "a number": in_data("batch_size", popen),
        "a number in a list": in_data("batch_size", [{"a": [popen]}]),
        "optimizer": {"optimizer": popen},
        "optimizer's argument": {
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": popen}}
        },
        "lr_scheduler": {"lr_scheduler": popen},
        "callbacks": {"trainer": {"callbacks": [popen]}},
        "callbacks, by name": {"trainer": {"callbacks": ["payload_f.data"]}},
        "logger": {"trainer": {"logger": popen}},
        "profiler": {"trainer": {"profiler": popen}},
        "plugins": {"trainer": {"plugins": [popen]}},
        "accelerator": {"trainer": {"accelerator": popen}},
        "a callback's argument": {
            "trainer": {
                "callbacks": [
                    {
                        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
                        "init_args": {"monitor": "loss/val", "patience": popen},
                    }
                ]
            }
        },
        "strategy": {"trainer": {"strategy": popen}},
    }


@pytest.mark.parametrize("place", wrong_kinds(Path()))
def test_what_a_recipe_names_is_of_the_kind_that_its_place_takes(
    mark: Path, run_cli: Run, place: str, tmp_path: Path
) -> None:
    (tmp_path / "payload_f.py").write_text(
        f"from pathlib import Path\ndef data(**options):\n    Path({str(mark)!r}).touch()\n"
    )
    write_recipe(Path("stranger.yaml"), **wrong_kinds(mark)[place])
    result = run_cli("fit", "--model", "stranger.yaml", *QUICK)
    assert result.status == 2, result.err
    assert result.err.count("error: ") == 1
    try:
        model = zoo.create_model("stranger.yaml")
        trainer(tmp_path, 1).fit(model, datamodule=zoo.create_datamodule("stranger.yaml"))
    except UserError:
        pass
    else:
        assert "trainer" in wrong_kinds(mark)[place], "the trainer's part is not read in Python"
    assert not mark.exists()
    sys.modules.pop("payload_f", None)


OWN_CLASSES = """
from lightning.pytorch import Callback
from my_more import MARK
from torch import nn
from torch.optim import SGD

class Optimizer(SGD):
    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, lr=lr)
        MARK.with_name("optimizer").touch()

class Told(Callback):
    def on_fit_start(self, trainer, pl_module):
        MARK.with_name("callback").touch()

class Shift(nn.Module):
    def forward(self, x):
        MARK.with_name("augment").touch()
        return x
"""


@pytest.mark.parametrize("where", ["recipe", "argv"])
def test_classes_of_the_users_own_are_found_in_every_place(
    mark: Path, run_cli: Run, where: str
) -> None:
    folder = Path("recipes" if where == "recipe" else ".")
    folder.mkdir(exist_ok=True)
    module, more = f"my_{where}_classes", f"my_{where}_more"
    (folder / f"{module}.py").write_text(OWN_CLASSES.replace("my_more", more))
    (folder / f"{more}.py").write_text(f"from pathlib import Path\nMARK = Path({str(mark)!r})\n")
    own = {
        "optimizer": {"class_path": f"{module}.Optimizer"},
        "trainer": {"callbacks": [f"{module}.Told"]},
        **in_data("augment", [{"class_path": f"{module}.Shift"}]),
    }
    argv = ["--optimizer", f"{module}.Optimizer", f"--trainer.callbacks+={module}.Told"]
    argv += ["--data.augment", f'[{{"class_path": "{module}.Shift"}}]']
    if where == "recipe":
        argv = []
    else:
        own = in_data("seed", 1)
    write_recipe(folder / "own.yaml", **own)
    result = run_cli("fit", "--model", folder / "own.yaml", *QUICK, *argv)
    assert result.status == 0, result.err
    for name in ("optimizer", "callback", "augment"):
        assert mark.with_name(name).exists(), name


def test_create_model_refuses_the_data_of_a_recipe_that_are_none(mark: Path) -> None:
    write_recipe(Path("stranger.yaml"), data=touch(mark))
    for make in (zoo.create_model, zoo.create_datamodule):
        with pytest.raises(UserError, match=r"'subprocess.Popen' is no LightningDataModule"):
            make("stranger.yaml")
    write_recipe(Path("stranger.yaml"), model=touch(mark))
    with pytest.raises(UserError, match=r"'subprocess.Popen' is no ZooModule"):
        zoo.create_model("stranger.yaml")
    assert not mark.exists()


@pytest.mark.parametrize(
    "option", ["--optimizer", "--lr_scheduler", "--trainer.callbacks", "--trainer.logger"]
)
def test_the_command_line_names_classes_of_the_right_kind(
    mark: Path, run_cli: Run, option: str
) -> None:
    result = run_cli("fit", "--model", "xor_mlp", *QUICK, option, json.dumps(touch(mark)))
    assert result.status == 2
    assert not mark.exists()


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch mark']",
        "model: !!python/object/apply:subprocess.Popen [[touch, mark]]",
        "model: !!python/name:payload.Net",
        "model: !!python/module:payload",
        "data: !!python/object/new:payload.Net {}",
        "trainer: {callbacks: !!python/object/apply:os.system ['touch mark']}",
    ],
)
@pytest.mark.parametrize("option", ["--model", "--config"])
def test_tags_in_yaml_run_nothing(mark: Path, run_cli: Run, text: str, option: str) -> None:
    Path("stranger.yaml").write_text(text)
    assert run_cli("fit", option, "stranger.yaml").status == 2
    assert not mark.exists()


@pytest.mark.parametrize(
    "trainer_settings",
    [
        "{callbacks: &a [*a]}",
        "&a {logger: {b: *a}}",
        "{a0: &a0 [x, x], "
        + ", ".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(30))
        + "}",
    ],
    ids=["in itself", "in a part of itself", "ten of ten of ten"],
)
def test_aliases_in_yaml_go_on_for_ever_nowhere(
    mark: Path, run_cli: Run, trainer_settings: str
) -> None:
    write_recipe(Path("stranger.yaml"))
    with Path("stranger.yaml").open("a") as file:
        file.write(f"trainer: {trainer_settings}\n")
    for option in ("--model", "--config"):
        result = run_cli("fit", option, "stranger.yaml")
        assert result.status == 2
        assert result.err.count("\n") == 1


NAMES = {
    "parents": "../../outside",
    "absolute": "/tmp/outside",
    "folder": "in/side",
    "backslash": "in\\side",
    "dots": "..",
    "dot": ".",
    "hidden": ".hidden",
    "empty": "",
    "blank": " ",
    "control": "a\nb",
    "null": "a\0b",
    "escape": "a\x1b[2Jb",
    "bidi": "a\u202eb",
    "long": "n" * 300,
    "number": 3,
    "list": ["a"],
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("option", ["--model", "--config"])
def test_a_recipes_name_stays_in_the_runs_folder(
    mark: Path, run_cli: Run, name: Any, option: str, tmp_path: Path
) -> None:
    write_recipe(Path("stranger.yaml"), name=name)
    before = {*tmp_path.parent.iterdir(), *tmp_path.iterdir()}
    result = run_cli("fit", option, "stranger.yaml", *QUICK, "--trainer.default_root_dir", "a/b")
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert "name" in result.err
    assert {*tmp_path.parent.iterdir(), *tmp_path.iterdir()} == before
    assert not Path("/tmp/outside").exists()


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", ".."])
def test_names_of_models_lead_to_no_files_elsewhere(mark: Path, run_cli: Run, name: str) -> None:
    for look_up in (zoo.find_recipe, zoo.model_card, zoo.create_model):
        with pytest.raises(UserError):
            look_up(name)
    assert run_cli("ship", "run", "run", "run", "--name", name).status == 2


# Where modules are found


def leave_marks(folder: Path, *modules: str) -> None:
    """Write modules of these names that leave a mark when they are imported."""
    folder.mkdir(exist_ok=True)
    for name in modules:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'mark')!r}, 'a').write({name!r})\n")


INSTALLED = ("torch", "csv", "numpy", "json", "lightning", "yaml", "matplotlib", "tensorboard")
OPTIONAL = ("pyarrow", "rich", "omegaconf", "polars", "sklearn", "wandb", "numexpr", "bottleneck")


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "zoo"],
        [ROOT / "scripts" / "{}.py"],
        ["-P", "-c", "import sys; from zoo.cli import main; main(sys.argv[1:])"],
    ],
    ids=["module", "script", "entry point"],
)
def test_neither_folder_stands_for_installed_or_missing_packages(
    tmp_path: Path, run_process: Run, command: list[Any]
) -> None:
    for folder in (tmp_path, tmp_path / "recipes"):
        leave_marks(folder, *INSTALLED, *OPTIONAL)
    (tmp_path / "my_helpers.py").write_text("raise RuntimeError('of another folder')")
    (tmp_path / "recipes" / "my_helpers.py").write_text("WIDTH = 3\n")
    (tmp_path / "recipes" / "my_network.py").write_text(
        "import importlib, pandas\n"
        "from zoo.architectures import FeedForward\n"
        "class Net(FeedForward):\n"
        "    def __init__(self, spec):\n"
        "        from my_helpers import WIDTH\n"
        "        importlib.import_module('my_helpers')\n"
        "        super().__init__(spec, hidden_dim=WIDTH)\n"
    )
    (tmp_path / "table.csv").write_text("a,b\n" + "1,0\n2,1\n" * 30)
    write_recipe(
        tmp_path / "recipes" / "own.yaml",
        model={"class_path": "my_network.Net"},
        data={
            "class_path": "datamodules.Tabular",
            "init_args": {"path": "table.csv", "target": "b"},
        },
    )
    commands = (
        ("fit", "--model", "recipes/own.yaml", *QUICK),
        ("predict", "--weights", "runs/own/version_0", "--input", "table.csv"),
    )
    for name, *arguments in commands:
        start = [str(part).format(name) for part in command]
        start += [] if "scripts" in start[0] else [name]
        done = run_process(*start, *arguments, *(["--trust", "my_network.Net"]), timeout=240)
        # Weights know nothing of the recipe's folder, so predict does not find the network.
        assert done.status == (0 if name == "fit" else 2), done.err
    assert "There is no module 'my_network'" in done.err
    assert not (tmp_path / "mark").exists(), (tmp_path / "mark").read_text()
    assert not (tmp_path / "recipes" / "mark").exists(), (tmp_path / "recipes/mark").read_text()


def test_tensorboard_is_the_installed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.cli.tensorboard import TensorBoard

    leave_marks(tmp_path, *INSTALLED)
    monkeypatch.chdir(tmp_path)
    links: list[str] = []
    server = TensorBoard(tmp_path, links.append)
    try:
        server._reader.join(60)
        server._process.wait(0.1)
    except subprocess.TimeoutExpired:
        pass  # it runs
    finally:
        server._process.terminate()
        server._process.wait()
    assert not (tmp_path / "mark").exists()


def test_scripts_of_ours_are_not_taken_for_a_users_module(tmp_path: Path, run_process: Run) -> None:
    (tmp_path / "predict.py").write_text(
        "from zoo.architectures import FeedForward\nclass Net(FeedForward):\n    pass\n"
    )
    write_recipe(tmp_path / "own.yaml", model={"class_path": "predict.Net"})
    done = run_process(ROOT / "scripts" / "fit.py", "--model", "own.yaml", *QUICK)
    assert done.status == 0, done.err


def test_a_second_module_of_the_same_name_is_not_mistaken_for_the_first(
    mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "my_twin", raising=False)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my_twin.py").write_text(
            "from zoo.architectures import FeedForward\n"
            f"class Net(FeedForward):\n    folder = {folder!r}\n"
        )
        write_recipe(tmp_path / folder / "own.yaml", model={"class_path": "my_twin.Net"})
    assert zoo.create_model("one/own.yaml").folder == "one"
    assert zoo.create_model("one/own.yaml").folder == "one"
    with pytest.raises(UserError, match=r"'my_twin' was loaded from .*one"):
        zoo.create_model("two/own.yaml")


# Checkpoints


def trained(folder: Path, **options: Any) -> Path:
    """Train a toy network and return its last checkpoint; the best one is beside it."""
    best = KeepBest(
        folder / "checkpoints",
        filename="best",
        monitor="accuracy/val",
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    data = Numbers()
    run = trainer(folder, options.pop("epochs", 2), callbacks=[best], enable_checkpointing=True)
    run.fit(network(data), datamodule=data, weights_only=True, **options)
    return folder / "checkpoints" / "last.ckpt"


def rewrite(checkpoint: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = torch.load(checkpoint, weights_only=True)
    change(content)
    torch.save(content, checkpoint)


def best_state(content: dict[str, Any]) -> dict[str, Any]:
    (state,) = (s for key, s in content["callbacks"].items() if key.startswith("KeepBest"))
    return state


@pytest.mark.parametrize("secret", ["secret.txt", "../../secret.txt", "elsewhere/best.ckpt"])
def test_a_checkpoint_has_no_other_file_copied(tmp_path: Path, secret: str) -> None:
    last = trained(tmp_path / "first")
    (last.parent / "best.ckpt").unlink()
    target = (tmp_path / "first" / secret).resolve()
    target.parent.mkdir(exist_ok=True)
    target.write_text("a secret")
    rewrite(last, lambda c: best_state(c).update(best_model_path=str(target)))
    then = trained(tmp_path / "then", ckpt_path=last, epochs=3)
    for file in then.parent.iterdir():
        assert b"a secret" not in file.read_bytes()


def test_what_is_beside_a_checkpoint_is_taken_if_it_is_one(tmp_path: Path) -> None:
    last = trained(tmp_path / "first")
    best = last.parent / "best.ckpt"
    best.write_bytes(pickle.dumps("a secret"))
    with pytest.raises(UserError, match=r"best\.ckpt.*not a checkpoint"):
        trained(tmp_path / "then", ckpt_path=last, epochs=3)
    best.unlink()
    (tmp_path / "other.ckpt").write_bytes(last.read_bytes())
    best.symlink_to(tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"best\.ckpt.*link"):
        trained(tmp_path / "then", ckpt_path=last, epochs=3)
    best.unlink()
    torch.save({"state_dict": {"x": torch.zeros(3)}, "loops": {}}, best)
    with pytest.raises(UserError, match=r"best\.ckpt.*not of this network"):
        trained(tmp_path / "then", ckpt_path=last, epochs=3)
    assert not (tmp_path / "then" / "checkpoints" / "best.ckpt").exists()


def test_a_run_that_was_moved_goes_on_with_its_best(tmp_path: Path) -> None:
    last = trained(tmp_path / "first")
    score = best_state(torch.load(last, weights_only=True))["best_model_score"]
    (tmp_path / "first").rename(tmp_path / "moved")
    then = trained(tmp_path / "then", ckpt_path=tmp_path / "moved/checkpoints/last.ckpt", epochs=3)
    assert best_state(torch.load(then, weights_only=True))["best_model_score"] >= score


@pytest.mark.parametrize("key", ["kth_best_model_path", "last_model_path", "best_k_models"])
def test_a_checkpoint_has_no_file_deleted(xor_run: Path, run_cli: Run, key: str) -> None:
    """Lightning removes the best so far when a better one comes, wherever it is said to be."""
    precious = Path("precious.txt")
    precious.write_text("mine")
    last = xor_run / "checkpoints" / "last.ckpt"
    folder = (Path("runs/xor_mlp/version_1") / "checkpoints").absolute()  # the next run's

    def change(content: dict[str, Any]) -> None:
        path = f"{folder}/../../../../precious.txt"
        value: Any = {path: torch.tensor(-1.0)} if key == "best_k_models" else path
        best_state(content).update({"dirpath": str(folder), key: value})

    rewrite(last, change)
    result = run_cli("fit", "--config", xor_run / "config.yaml", "--ckpt_path", last)
    assert result.status == 2
    assert "it names '" in result.err
    assert precious.read_text() == "mine"


class Bomb:
    """A pickle that leaves a mark when it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mknod, (str(self.mark),)


@pytest.mark.parametrize(
    "where", ["callbacks", "hyper_parameters", "loops", "state_dict", "LogicGate"]
)
def test_a_pickle_in_a_checkpoint_is_not_opened(
    xor_run: Path, run_cli: Run, mark: Path, where: str
) -> None:
    last = xor_run / "checkpoints" / "last.ckpt"
    rewrite(last, lambda content: content.setdefault(where, {}).update(x=Bomb(mark)))
    result = run_cli("fit", "--model", "xor_mlp", "--ckpt_path", last)
    assert result.status == 2
    with pytest.raises(UserError):
        FeedForward.load_from_checkpoint(last)
    assert not mark.exists()


@pytest.mark.parametrize(
    "hparams",
    [
        {"_instantiator": "payload.data"},
        {"_class_path": "payload.Net", "_instantiator": "lightning.pytorch.cli.instantiate_module"},
    ],
)
def test_a_checkpoint_does_not_say_what_to_make_of_it(mark: Path, hparams: dict[str, Any]) -> None:
    last = trained(Path("first"))
    rewrite(last, lambda content: content["hyper_parameters"].update(hparams))
    with pytest.raises(UserError):
        FeedForward.load_from_checkpoint(last)
    assert not mark.exists()
    assert "payload" not in sys.modules


@pytest.mark.parametrize("key", ["optimizer", "lr_scheduler", "learning"])
@pytest.mark.parametrize("named", ["payload.Net", "subprocess.Popen"])
def test_what_a_checkpoint_says_of_learning_is_nothing_to_its_network(
    mark: Path, key: str, named: str
) -> None:
    last = trained(Path("first"))
    spec = {"class_path": named, "init_args": {"args": ["touch", str(mark)]}}
    rewrite(last, lambda content: content["hyper_parameters"].update({key: spec}))
    model = FeedForward.load_from_checkpoint(last)
    model.configure_optimizers()
    assert not mark.exists()
    assert "payload" not in sys.modules


def test_a_checkpoint_of_our_own_is_loaded(mark: Path) -> None:
    last = trained(Path("first"))
    model = FeedForward.load_from_checkpoint(last)
    expected = torch.load(last, weights_only=True)["state_dict"]
    torch.testing.assert_close(dict(model.state_dict()), dict(expected))
    with last.open("rb") as file:
        again = FeedForward.load_from_checkpoint(file)
    torch.testing.assert_close(dict(again.state_dict()), dict(expected))


# What the installation must have


def test_a_torch_without_the_hole_in_weights_only_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lowest = dict(
        re.match(r"([\w-]+)>=([\d.]+)", entry).groups()
        for entry in project["dependencies"]
        if entry.startswith("torch")
    )
    assert tuple(map(int, lowest["torch"].split("."))) >= (2, 10)
    assert tuple(map(int, lowest["torchvision"].split("."))) >= (0, 25)


def test_every_torch_load_reads_weights_only() -> None:
    for path in (
        p for folder in ("zoo", "datamodules", "scripts") for p in (ROOT / folder).rglob("*.py")
    ):
        for call in re.findall(r"torch\.load\(.*", path.read_text("utf-8")):
            assert "weights_only=True" in call, path
