"""`--trainer.precision auto`: which one is taken, why, and that a run keeps it."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from toy import Numbers
from toy import network as toy_network

import zoo
from zoo.run_recipe import choose_recipe
from zoo.running import precision
from zoo.running.precision import choose_precision, take_auto
from zoo.running.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore")

CPU = torch.device("cpu")


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> dict[bool, float]:
    """How long an update takes without (False) and with bfloat16, on a processor that has it."""
    taken, ticks = {False: 1.0, True: 0.5}, [0.0, 0]

    def clock(device: torch.device) -> float:
        ticks[1] += 1
        mixed = (ticks[1] - 1) // 2 % 2 == 1
        ticks[0] += 0.0 if ticks[1] % 2 else taken[mixed]
        return ticks[0]

    monkeypatch.setattr(precision, "_clock", clock)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    return taken


def test_bfloat16_is_taken_where_it_is_faster(seconds: dict[bool, float]) -> None:
    data = Numbers()
    model = toy_network(data, dropout=0.5)
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    assert choose_precision(model, data, CPU) == (
        "bf16-mixed",
        "bf16-mixed takes 0.50 times as long",
    )
    seconds[True] = 0.95
    chosen, why = choose_precision(model, data, CPU)
    assert (chosen, why) == ("32-true", "bf16-mixed takes 0.95 times as long")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_full_precision_where_bfloat16_is_not_or_changes_the_loss(
    seconds: dict[bool, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Numbers()
    model = toy_network(data)
    assert choose_precision(model, data, CPU, processes=2)[0] == "32-true"
    with monkeypatch.context() as patch:
        patch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
        assert choose_precision(model, data, CPU) == ("32-true", "this cpu has no bfloat16")
    loss = type(model).loss

    def rounded(self: Any, *args: Any) -> Any:
        return loss(self, *args) * (2 if torch.is_autocast_enabled("cpu") else 1)

    monkeypatch.setattr(type(model), "loss", rounded)
    chosen, why = choose_precision(model, data, CPU)
    assert chosen == "32-true"
    assert why.startswith("the first batch's loss is ")


@pytest.mark.parametrize("takes", [0.5, 2.0])
def test_a_run_says_what_it_took_and_keeps_it(
    takes: float, seconds: dict[bool, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds[True] = takes
    expected = "bf16-mixed" if takes < 1 else "32-true"
    options = {"accelerator": "cpu", "logger": False, "inspect": "none"}
    run = zoo.fit(
        "xor_mlp", precision="auto", max_epochs=1, default_root_dir=str(tmp_path), **options
    )
    line = capsys.readouterr().out.splitlines()[0]
    assert f"cpu, {expected} (auto: bf16-mixed takes {takes:.2f} times as long) |" in line
    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert config["trainer"]["precision"] == expected
    assert run.card.precision == expected
    seconds[True] = 1 / takes  # by now the other one would be taken
    again = zoo.fit(resume=run.folder, max_epochs=2, inspect="none")
    assert again.card.precision == expected
    assert "auto" not in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("argv", "expected", "auto"),
    [
        (["--lr", "1"], ["--lr", "1"], False),
        (["--trainer.precision", "auto"], ["--trainer.precision", "32-true"], True),
        (["--trainer.precision=auto", "-x"], ["--trainer.precision=32-true", "-x"], True),
        (["--trainer.precision"], ["--trainer.precision"], False),
    ],
)
def test_auto_on_a_command_line(argv: list[str], expected: list[str], auto: bool) -> None:
    assert take_auto(argv) == (expected, auto)


def test_the_last_word_counts(tmp_path: Path) -> None:
    recipe = choose_recipe("xor_mlp")
    last = Settings(recipe, ["--trainer.precision=auto", "--trainer.precision=bf16-mixed"])
    assert not last.precision_is_open
    assert last.config.trainer.precision == "bf16-mixed"
    content = Settings(recipe, ["--trainer.precision=auto"]).as_recipe()
    assert content["trainer"]["precision"] == "auto"
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    own = choose_recipe(configs=[file])
    assert Settings(own).precision_is_open
    assert not Settings(own, ["--trainer.precision=32-true"]).precision_is_open
