"""What a user names in recipes and options is of the kind that its place takes.

Every payload leaves a mark when it runs: a file that must not be there afterwards.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile import QUICK, Run, touch, write_recipe
from toy import trainer

import zoo
from zoo import UserError

pytestmark = pytest.mark.filterwarnings("ignore")


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
