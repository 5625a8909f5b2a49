"""What makes a step cheaper: where it is used, and that what the user says comes first."""

import os
from typing import Any

import pytest
import torch
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler
from quick import fit
from torch import nn
from toy import Numbers
from toy import network as toy_network

import zoo
from zoo.run_recipe import choose_recipe
from zoo.running.settings import Settings, as_options
from zoo.running.speed import Unprofiled
from zoo.running.training import Training

pytestmark = pytest.mark.filterwarnings("ignore")


def training(**settings: Any) -> Training:
    options = as_options({"trainer.fast_dev_run": True, "trainer.accelerator": "cpu", **settings})
    return Training(Settings(choose_recipe("xor_mlp"), options), inspect="none")


def optimizer_of(spec: dict[str, Any], **options: Any) -> torch.optim.Optimizer:
    """Return the optimizer that a training of one update ends with."""
    model = toy_network(Numbers(), optimizer=spec)
    trainer, _ = fit(model, Numbers(), max_steps=1, **options)
    return trainer.optimizers[0]


def spec(name: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": f"torch.optim.{name}", "init_args": {"lr": 0.1, **arguments}}


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adagrad"])
def test_an_optimizer_updates_all_parameters_in_one_call(name: str) -> None:
    assert optimizer_of(spec(name)).param_groups[0]["fused"] is True


@pytest.mark.parametrize("asked", [{"fused": False}, {"foreach": True}, {"foreach": False}])
def test_another_form_that_is_asked_for_is_taken(asked: dict[str, bool]) -> None:
    (group,) = optimizer_of(spec("SGD", **asked)).param_groups
    assert not group["fused"]
    assert group["foreach"] == asked.get("foreach")


def test_an_optimizer_without_that_form_is_left_alone() -> None:
    assert "fused" not in optimizer_of(spec("RMSprop")).param_groups[0]


def test_gradients_are_still_clipped_under_mixed_precision() -> None:
    clipped = optimizer_of(spec("SGD"), precision="bf16-mixed", gradient_clip_val=1.0)
    assert not clipped.param_groups[0]["fused"]
    free = optimizer_of(spec("SGD"), precision="bf16-mixed")
    assert free.param_groups[0]["fused"] is True


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_both_forms_learn_the_same_to_rounding(name: str) -> None:
    losses = []
    for fused in (None, False):
        torch.manual_seed(0)
        model = toy_network(Numbers(), optimizer=spec(name, fused=fused))
        losses.append(fit(model, Numbers(), max_steps=20)[1])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_hooks_are_profiled_if_the_user_asks_for_it() -> None:
    assert isinstance(training().trainer.profiler, Unprofiled)
    assert isinstance(training(**{"trainer.profiler": "simple"}).trainer.profiler, SimpleProfiler)


def test_a_context_that_measures_nothing_hides_no_error() -> None:
    for profiler in (Unprofiled(), PassThroughProfiler()):
        with pytest.raises(KeyError), profiler.profile("a hook"):
            raise KeyError


@pytest.mark.parametrize("gpus", [0, 1])
def test_torch_is_left_its_way_of_finding_gpus_where_there_is_one(
    gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    training()
    assert ("PYTORCH_NVML_BASED_CUDA_CHECK" in os.environ) == bool(gpus)


def test_attributes_of_a_network_are_what_they_are_set_to() -> None:
    model = zoo.create_model("xor_mlp")
    model.plain = "one"
    model.plain = None
    assert model.plain is None
    model.plain = nn.Linear(2, 2)  # a layer takes the place of a plain attribute
    assert "plain" in dict(model.named_children())
    model.plain = None  # and stays registered, as torch has it
    assert "plain" not in model.__dict__
    model.register_buffer("kept", torch.zeros(1))
    model.kept = None
    assert "kept" not in model.__dict__
    assert "kept" in model._buffers
