"""Learning rates: one place to write them, groups for head and depth, schedules that span a run."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn
from toy import Numbers, trainer
from toy import network as toy_network

import zoo
from zoo.errors import UserError
from zoo.learning import Learning
from zoo.optimization import (
    Cosine,
    OneCycle,
    add_groups,
    build_optimizer,
    build_scheduler,
    describe_schedule,
    parameter_groups,
)

SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}}


pytestmark = pytest.mark.filterwarnings("ignore")


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.zeros(3))


def schedule(name: str, steps: int = 100, **options: Any) -> tuple[torch.optim.Optimizer, dict]:
    optimizer = build_optimizer(SGD, [{"params": [parameter()]}])
    spec = {"class_path": name, "init_args": options}
    return optimizer, build_scheduler(spec, optimizer, steps)


def rates(name: str, steps: int = 100, **options: Any) -> list[float]:
    optimizer, config = schedule(name, steps, **options)
    used = []
    for _ in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        config["scheduler"].step()
    return used


@pytest.mark.parametrize("schedule_class", [OneCycle, Cosine])
def test_a_schedule_over_the_training_needs_its_length(schedule_class: type) -> None:
    optimizer = build_optimizer(SGD, [{"params": [parameter()]}])
    with pytest.raises(ValueError, match="total_steps"):
        schedule_class(optimizer)


def test_one_cycle_peaks_at_the_optimizers_learning_rate_and_spans_the_training() -> None:
    used = rates("zoo.optimization.OneCycle")
    assert used[0] == pytest.approx(0.1 / 25)
    assert max(used) == pytest.approx(0.1)
    assert used.index(max(used)) == 29
    assert used[-1] == pytest.approx(0.1 / 25 / 1e4)


def test_cosine_falls_from_the_optimizers_learning_rate_to_nothing() -> None:
    used = rates("zoo.optimization.Cosine")
    assert used[0] == pytest.approx(0.1)
    assert used[50] == pytest.approx(0.05)
    assert used[-1] < 1e-4


TORCH = "torch.optim.lr_scheduler"


@pytest.mark.parametrize(
    ("interval", "name", "options"),
    [
        ("step", "zoo.optimization.OneCycle", {}),
        ("step", "zoo.optimization.Cosine", {}),
        ("step", f"{TORCH}.OneCycleLR", {"max_lr": 0.1}),
        ("step", f"{TORCH}.OneCycleLR", {"max_lr": 0.1, "epochs": 3, "steps_per_epoch": 4}),
        ("step", f"{TORCH}.CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3}),
        ("epoch", f"{TORCH}.StepLR", {"step_size": 1}),
        ("epoch", f"{TORCH}.MultiStepLR", {"milestones": [1]}),
        ("epoch", f"{TORCH}.ExponentialLR", {"gamma": 0.9}),
        ("epoch", f"{TORCH}.LinearLR", {}),
        ("epoch", f"{TORCH}.ConstantLR", {"total_iters": 1}),
        ("epoch", f"{TORCH}.PolynomialLR", {"total_iters": 3}),
        ("epoch", f"{TORCH}.CosineAnnealingLR", {"T_max": 2}),
        ("epoch", f"{TORCH}.CosineAnnealingWarmRestarts", {"T_0": 5}),
        ("epoch", f"{TORCH}.ReduceLROnPlateau", {"patience": 0, "threshold": 100.0}),
    ],
)
@pytest.mark.parametrize("said", [None, "step", "epoch"])
def test_a_schedule_moves_when_it_usually_does_or_when_it_is_said_to(
    tmp_path: Path, interval: str, name: str, options: dict[str, Any], said: str | None
) -> None:
    spec = {"class_path": name, "init_args": options} | ({"interval": said} if said else {})
    used = rates_of_a_training(tmp_path, spec, epochs=3)
    moves_within_an_epoch = len(set(used[:4])) > 1
    if name.endswith("Plateau"):  # it knows no loss before the first validation
        moves_within_an_epoch = len(set(used[4:8])) > 1
    assert moves_within_an_epoch == ((said or interval) == "step")
    assert used[:4] != used[8:]


def rates_of_a_training(folder: Path, spec: dict[str, Any], epochs: int) -> list[float]:
    """Return the learning rate of every update, four in an epoch."""
    used: list[float] = []

    class Rates(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, module: Any, optimizer: Any) -> None:
            used.append(optimizer.param_groups[0]["lr"])

    data = Numbers()
    model = toy_network(data, optimizer=SGD, lr_scheduler=spec)
    trainer(folder, epochs, callbacks=[Rates()]).fit(model, datamodule=data)
    return used


@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("frequency", [1, 2])
def test_a_schedule_of_the_whole_training_spans_it_in_either_interval(
    tmp_path: Path, interval: str, frequency: int
) -> None:
    spec = {"class_path": "zoo.optimization.OneCycle", "init_args": {"pct_start": 0.5}}
    spec |= {"interval": interval, "frequency": frequency}
    used = rates_of_a_training(tmp_path, spec, epochs=8)
    assert used[0] == pytest.approx(0.1 / 25)
    assert used[-1] == pytest.approx(0.1 / 25 / 1e4)
    moves = sum(a != b for a, b in pairwise(used))
    assert moves == (32 if interval == "step" else 8) // frequency - 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": "batch"}, "interval of a schedule called 'batch'"),
        ({"frequency": 0}, "must be 1 or more, not 0"),
        ({"step_size": 3}, "'step_size'"),
    ],
)
def test_what_a_schedule_cannot_be_told_is_refused(change: dict[str, Any], message: str) -> None:
    spec = {"class_path": f"{TORCH}.StepLR", "init_args": {"step_size": 3}, **change}
    with pytest.raises(UserError, match=message):
        zoo.create_model("xor_mlp", lr_scheduler=spec)


def test_a_schedule_is_described_in_a_sentence() -> None:
    spec = {"class_path": f"{TORCH}.CyclicLR"}
    assert describe_schedule(spec).endswith("follows CyclicLR, which moves after every update.")
    assert describe_schedule({**spec, "interval": "epoch", "frequency": 2}).endswith("2 epochs.")


def test_a_plateau_watches_the_validation_loss() -> None:
    config = schedule("torch.optim.lr_scheduler.ReduceLROnPlateau")[1]
    assert (config["monitor"], config["interval"]) == ("loss/val", "epoch")


@pytest.mark.parametrize("name", ["zoo.optimization.OneCycle", "zoo.optimization.Cosine"])
def test_a_training_that_goes_on_for_longer_follows_the_longer_curve(name: str) -> None:
    optimizer, config = schedule(name, steps=50)
    for _ in range(50):
        optimizer.step()
        config["scheduler"].step()
    longer, longer_config = schedule(name, steps=100)
    longer.load_state_dict(optimizer.state_dict())
    longer_config["scheduler"].load_state_dict(config["scheduler"].state_dict())
    used = []
    for _ in range(49):
        longer.step()
        longer_config["scheduler"].step()
        used.append(longer.param_groups[0]["lr"])
    assert used == pytest.approx(rates(name, steps=100)[51:])


def network() -> tuple[nn.Module, nn.Module, list[tuple[str, nn.Parameter]]]:
    head = nn.Linear(4, 2)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), head)
    return model, head, list(model.named_parameters())


def test_equal_rates_make_one_group_that_leaves_them_to_the_optimizer() -> None:
    model, head, named = network()
    (group,) = parameter_groups(model, head, named, Learning(optimizer=SGD))
    assert "lr" not in group
    assert len(group["params"]) == 6
    assert parameter_groups(model, head, [], Learning(optimizer=SGD)) == []


def test_head_and_layers_get_rates_of_their_own() -> None:
    model, head, named = network()
    groups = parameter_groups(
        model, head, named, Learning(optimizer=SGD, head_lr=1.0, layer_decay=0.5)
    )
    by_rate = {g["lr"]: g["params"] for g in groups}
    # The head 1.0; the layer below it half the optimizer's 0.1; the one below half of that.
    assert sorted(by_rate) == pytest.approx([0.025, 0.05, 1.0])
    assert by_rate[1.0][0] is head.weight
    assert by_rate[min(by_rate)][0] is model[0].weight


def test_relative_rates_need_a_rate() -> None:
    model, head, named = network()
    with pytest.raises(UserError, match="head_lr"):
        parameter_groups(model, head, named, Learning(head_lr=1.0))


@pytest.mark.parametrize("setting", [{"head_lr": -1.0}, {"layer_decay": 0.0}, {"layer_decay": 1.5}])
def test_rates_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(setting))):
        Learning(**setting)


def test_an_optimizer_of_sparse_gradients_is_refused() -> None:
    with pytest.raises(UserError, match="take Adam"):
        build_optimizer({"class_path": "torch.optim.SparseAdam"}, [{"params": [parameter()]}])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("zoo.optimization.OneCycle", {}),
        ("zoo.optimization.Cosine", {}),
        ("torch.optim.lr_scheduler.StepLR", {"step_size": 10}),
        ("torch.optim.lr_scheduler.ExponentialLR", {"gamma": 0.95}),
        ("torch.optim.lr_scheduler.CosineAnnealingWarmRestarts", {"T_0": 30}),
    ],
)
@pytest.mark.parametrize("own_rate", [None, 0.02])
def test_a_group_added_later_is_where_the_schedule_is(
    name: str, options: dict[str, Any], own_rate: float | None
) -> None:
    """As if the group had been there from the start, at its own share of the learning rate."""
    optimizer, config = schedule(name, **options)
    group = {"params": [parameter()]} | ({"lr": own_rate} if own_rate else {})
    reference = build_optimizer(
        SGD, [{"params": [parameter()]}, {**group, "params": [parameter()]}]
    )
    expected = build_scheduler({"class_path": name, "init_args": options}, reference, 100)
    for step in range(100):
        if step == 40:
            add_groups(optimizer, [group], [config["scheduler"]])
        for each, scheduler in ((optimizer, config), (reference, expected)):
            each.step()
            scheduler["scheduler"].step()
        if step >= 40:
            assert [g["lr"] for g in optimizer.param_groups] == pytest.approx(
                [g["lr"] for g in reference.param_groups], rel=1e-9
            )


def test_a_group_can_be_added_under_a_cyclic_schedule() -> None:
    optimizer, config = schedule(
        f"{TORCH}.CyclicLR", base_lr=0.1, max_lr=0.5, step_size_up=15, cycle_momentum=True
    )
    add_groups(optimizer, [{"params": [parameter()]}], [config["scheduler"]])
    for _ in range(40):
        optimizer.step()
        config["scheduler"].step()
        first, added = optimizer.param_groups
        assert (added["lr"], added["momentum"]) == (first["lr"], first["momentum"])


def test_a_group_can_be_added_under_a_plateau_schedule() -> None:
    optimizer, config = schedule(
        "torch.optim.lr_scheduler.ReduceLROnPlateau", patience=0, factor=0.5
    )
    add_groups(optimizer, [{"params": [parameter()]}], [config["scheduler"]])
    for _ in range(3):
        config["scheduler"].step(1.0)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.025, 0.025])


def test_a_group_can_be_added_under_a_lambda_schedule() -> None:
    optimizer = build_optimizer(SGD, [{"params": [parameter()]}])
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    add_groups(optimizer, [{"params": [parameter()], "lr": 0.2}], [scheduler])
    optimizer.step()
    scheduler.step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.05, 0.1])
