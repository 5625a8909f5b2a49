"""Learning rates: one place to write them, groups for head and depth, schedules that span a run."""

from typing import Any

import pytest
import torch
from torch import nn

from zoo.errors import UserError
from zoo.optimization import (
    Cosine,
    OneCycle,
    add_groups,
    build_optimizer,
    build_scheduler,
    parameter_groups,
)

SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}}


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


def test_a_schedule_of_the_whole_training_moves_after_every_update_and_others_every_epoch() -> None:
    assert schedule("zoo.optimization.OneCycle")[1]["interval"] == "step"
    assert schedule("torch.optim.lr_scheduler.StepLR", step_size=3)[1]["interval"] == "epoch"


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
    (group,) = parameter_groups(model, head, named, 0.1, None, None)
    assert "lr" not in group
    assert len(group["params"]) == 6
    assert parameter_groups(model, head, [], 0.1, None, None) == []


def test_head_and_layers_get_rates_of_their_own() -> None:
    model, head, named = network()
    groups = parameter_groups(model, head, named, 0.1, 1.0, 0.5)
    by_rate = {g["lr"]: g["params"] for g in groups}
    # The head 1.0; the layer below it half the optimizer's 0.1; the one below half of that.
    assert sorted(by_rate) == pytest.approx([0.025, 0.05, 1.0])
    assert by_rate[1.0][0] is head.weight
    assert by_rate[min(by_rate)][0] is model[0].weight


def test_relative_rates_need_a_rate() -> None:
    model, head, named = network()
    with pytest.raises(UserError, match="head-lr"):
        parameter_groups(model, head, named, None, 1.0, None)


@pytest.mark.parametrize(
    ("head_lr", "layer_decay", "named"),
    [(-1.0, None, "head-lr"), (None, 0.0, "layer-decay"), (None, 1.5, "layer-decay")],
)
def test_rates_out_of_range_are_refused(
    head_lr: float | None, layer_decay: float | None, named: str
) -> None:
    model, head, parameters = network()
    with pytest.raises(UserError, match=named):
        parameter_groups(model, head, parameters, 0.1, head_lr, layer_decay)


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
