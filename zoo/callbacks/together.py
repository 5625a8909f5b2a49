"""Several callbacks that cost a step no more than one."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lightning.pytorch import Callback


class Together(Callback):
    """Calls several callbacks, each only at the hooks that it has.

    Lightning enters a profiler context for every callback at every hook, also for the empty ones.

    Args:
        callbacks: What to call, in order.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = list(callbacks)
        for hook in (name for name in dir(Callback) if name.startswith("on_")):
            self._forward(hook, [c for c in callbacks if _has(c, hook)])
        # Not one of Lightning's: `Training` calls it when the weights and their card are written.
        self._forward("on_card", [c for c in callbacks if hasattr(c, "on_card")])

    def _forward(self, hook: str, callbacks: Sequence[Callback]) -> None:
        if callbacks:
            setattr(self, hook, partial(_call_all, [getattr(c, hook) for c in callbacks]))


def _has(callback: Callback, hook: str) -> bool:
    return getattr(type(callback), hook) is not getattr(Callback, hook)


def _call_all(functions: Sequence[Callable[..., None]], *args: Any, **kwargs: Any) -> None:
    for function in functions:
        function(*args, **kwargs)
