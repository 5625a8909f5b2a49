"""`fit`: when a schedule moves, and that it is said."""

from pathlib import Path

import pytest
import yaml
from fit_options import FASHION, Run, only_run, settings, words

from zoo import create_model

STEP_LR = ("--lr_scheduler", "StepLR", "--lr_scheduler.step_size", 2)


@pytest.mark.parametrize(
    ("argv", "moves"),
    [
        ([*STEP_LR], "StepLR, which moves after every epoch"),
        ([*STEP_LR, "--lr_scheduler.interval", "step"], "StepLR, which moves after every update"),
        (["--lr_scheduler.interval=step", *STEP_LR], "StepLR, which moves after every update"),
        (
            [*STEP_LR, "--lr_scheduler.interval=step", "--lr_scheduler.frequency=3"],
            "StepLR, which moves after every 3 updates",
        ),
        (
            ["--lr_scheduler=CyclicLR", "--lr_scheduler.base_lr=0.1", "--lr_scheduler.max_lr=1"],
            "CyclicLR, which moves after every update",
        ),
    ],
    ids=words,
)
def test_a_schedule_of_the_users_says_when_it_moves(
    run_cli: Run, argv: list[str], moves: str
) -> None:
    result = run_cli("fit", *FASHION, *argv)
    assert result.status == 0, result.err
    assert result.out.count(f"The learning rate follows {moves}.") == 1
    again = run_cli("fit", "--config", only_run() / "config.yaml")
    assert again.status == 0, again.err
    assert again.out.count(f"The learning rate follows {moves}.") == 1


def test_a_recipe_and_a_configuration_say_when_a_schedule_moves(
    run_cli: Run, tmp_path: Path
) -> None:
    recipe = settings(run_cli, *FASHION, *STEP_LR, "--lr_scheduler.interval", "step")
    assert recipe["lr_scheduler"]["interval"] == "step"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    assert settings(run_cli, "--model", "mine.yaml") == {**recipe, "name": recipe["name"]}
    (tmp_path / "change.yaml").write_text("lr_scheduler: {frequency: 2, step_size: 5}")
    changed = settings(run_cli, "--model", "mine.yaml", "--config", "change.yaml")["lr_scheduler"]
    assert (changed["interval"], changed["frequency"]) == ("step", 2)
    assert changed["init_args"]["step_size"] == 5
    # Another schedule has nothing of the old one.
    other = settings(run_cli, "--model", "mine.yaml", "--lr_scheduler", "LinearLR")
    assert "interval" not in other["lr_scheduler"]
    model = create_model("mine.yaml")
    assert model.learning.lr_scheduler["interval"] == "step"


ONE_CYCLE = ("--lr_scheduler", "OneCycleLR", "--lr_scheduler.max_lr", 0.1)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([*ONE_CYCLE, "--lr_scheduler.total_steps", 3], "number of total steps is 3"),
        ([*STEP_LR, "--lr_scheduler.interval", "batch"], "takes one of step, epoch; not batch"),
        ([*STEP_LR, "--lr_scheduler.frequency", "0"], "must be 1 or more, not 0"),
        (["--lr_scheduler.interval", "step"], "needs a schedule"),
    ],
    ids=words,
)
def test_a_schedule_that_cannot_move_so_is_refused(
    run_cli: Run, argv: list[str], message: str
) -> None:
    result = run_cli("fit", *FASHION, *argv)
    assert result.status == 2
    assert message in result.err
