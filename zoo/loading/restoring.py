"""What a training goes on from is held against what it would begin with, before it is taken up."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from datamodules.plain import misfit
from zoo.errors import UserError

# How far an epoch had come, as the loaders of `datamodules` say it.
POSITION = dict[str, int] | None
# What a checkpoint has that a training goes on from, but none of weights alone.
MORE_THAN_WEIGHTS = ("optimizer_states", "lr_schedulers", "loops", "hyper_parameters")


def check_before(checkpoint: Mapping[str, Any], trainer: Trainer) -> None:
    """Refuse a checkpoint whose loops, callbacks or data are of other kinds than the trainer's.

    Args:
        checkpoint: What it holds.
        trainer: One that has taken up nothing of it yet.

    Raises:
        UserError: If one is.
    """
    missing = [key for key in MORE_THAN_WEIGHTS if key not in checkpoint]
    refuse(f"it has no {missing[0]}" if missing else "")
    loops = trainer.fit_loop.state_dict()
    found = checkpoint["loops"].get("fit_loop", {})
    problem = misfit(found, dict[str, dict[str, Any]], "fit_loop")
    for key, fresh in loops.items():
        if not problem:
            own = key.endswith("state_dict")  # other versions of Lightning have others in it
            problem = unlike(found.get(key, {}), fresh, key, partly=own)
    if not problem and "combined_loader" in (found.get("state_dict") or {}):
        problem = misfit(found["state_dict"]["combined_loader"], list[Any], "combined_loader")
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        state = (checkpoint.get("callbacks") or {}).get(callback.state_key)
        if state is not None and not problem:
            name = type(callback).__name__
            problem = misfit(state, dict[str, Any], name)
            problem = problem or unlike(state, callback.state_dict(), name, partly=True)
    sums = checkpoint.get("train_sums")
    if sums is not None and not problem:
        problem = unlike(sums, torch.zeros(3), "train_sums")
    problem = problem or misfit(checkpoint.get("frozen", []), list[str], "frozen")
    data = checkpoint.get(type(trainer.datamodule).__qualname__)  # type: ignore[attr-defined]
    if data is not None and not problem:
        position = data.get("train") if isinstance(data, Mapping) else "none"
        problem = misfit(position, POSITION, "the position in the data")
    refuse(problem)


def check_optimizer(
    checkpoint: Mapping[str, Any], optimizer: Optimizer, scheduler: LRScheduler | None
) -> None:
    """Refuse a checkpoint with other optimizer states than a step of this optimizer leaves.

    Args:
        checkpoint: What it holds.
        optimizer: One that has taken up nothing of it yet.
        scheduler: Its schedule, likewise.

    Raises:
        UserError: If they are others.
    """
    states = checkpoint.get("optimizer_states") or []
    problem = misfit(states, list[dict[str, Any]], "optimizer_states")
    if states and not problem:
        problem = _problem_of_optimizer(states[0], optimizer)
    schedules = checkpoint.get("lr_schedulers") or []
    if scheduler is not None and schedules and not problem:
        problem = unlike(schedules[0], scheduler.state_dict(), "lr_schedulers", partly=True)
    refuse(problem)


def refuse(problem: str) -> None:
    """Say that there is a problem with a checkpoint, if there is one."""
    if problem:
        raise UserError(
            f"The checkpoint is damaged, or was written by another run or version: {problem}."
        )


def _problem_of_optimizer(state: Mapping[str, Any], optimizer: Optimizer) -> str:
    groups: Any = state.get("param_groups")
    if problem := misfit(groups, list[dict[str, Any]], "param_groups"):
        return problem
    if problem := misfit(state.get("state"), dict[Any, dict[str, Any]], "the optimizer's state"):
        return problem
    fresh = optimizer.state_dict()
    if problem := unlike(groups, fresh["param_groups"], "param_groups"):
        return problem
    if [g["params"] for g in groups] != [g["params"] for g in fresh["param_groups"]]:
        return "its parameters are grouped otherwise"
    if not state["state"]:
        return ""
    stepped = _after_a_step(optimizer)["state"]
    for number, values in state["state"].items():
        if number not in stepped:
            return "it has states of parameters that there are not"
        if problem := unlike(values, stepped[number], "a parameter's state"):
            return problem
    return ""


def _after_a_step(optimizer: Optimizer) -> dict[str, Any]:
    """Return what an optimizer of this kind holds once it has moved parameters of these shapes."""
    twin = copy.deepcopy(optimizer)
    for group in twin.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    twin.step(lambda: 0.0)
    return twin.state_dict()


def unlike(found: Any, fresh: Any, name: str, partly: bool = False) -> str:
    """Say what in a saved state is of another kind, or lacks something, beside a fresh one.

    Args:
        found: The saved one.
        fresh: The fresh one; where it has nothing, a single value may be saved.
        name: What it is called.
        partly: Whether something may be lacking at the top.
    """
    if isinstance(fresh, Tensor) and fresh.ndim:
        same = isinstance(found, Tensor) and found.shape == fresh.shape
        same = same and found.is_floating_point() == fresh.is_floating_point()
        return "" if same else f"{name} is no tensor {tuple(fresh.shape)}"
    if isinstance(fresh, Mapping):
        if not isinstance(found, Mapping):
            return f"{name} is no mapping"
        for key, value in fresh.items():
            if key not in found:
                if partly:
                    continue
                return f"{name} has no {key}"
            if problem := unlike(found[key], value, f"{name}.{key}"):
                return problem
        return ""
    if isinstance(fresh, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(found) != len(fresh):
            return f"{name} is no list of {len(fresh)}"
        pairs = zip(found, fresh, strict=True)
        return next(filter(None, (unlike(one, other, name) for one, other in pairs)), "")
    if isinstance(found, Tensor):
        return "" if found.numel() == 1 and not isinstance(fresh, (bool, str)) else _kind(name)
    if fresh is None:
        return "" if found is None or isinstance(found, (bool, int, float, str)) else _kind(name)
    if isinstance(fresh, (int, float, Tensor)) and not isinstance(fresh, bool):
        wanted = int if isinstance(fresh, int) else float
        return misfit(found, wanted, name)
    return misfit(found, type(fresh), name) if isinstance(fresh, (bool, str)) else ""


def _kind(name: str) -> str:
    return f"{name} is of another kind"
