"""Signals that ask a program to stop: Ctrl-C, SIGTERM, and SIGHUP where there is one."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

# Windows has no SIGHUP.
STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupted(KeyboardInterrupt):
    """A signal stopped the program.

    Attributes:
        status: The exit status that a shell reports for it: 128 and the signal's number.
    """

    def __init__(self, number: int = signal.SIGINT, message: str = "interrupted") -> None:
        super().__init__(message)
        self.status = 128 + number


received: list[int] = []  # what has stopped the program, also where Lightning makes an exit of it


def stop_at_once(number: int, frame: FrameType | None = None) -> None:
    """Stop where the program stands: a handler."""
    received.append(number)
    raise Interrupted(number)


def handle(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> dict[int, Any]:
    """Set the handler of all of them, but of those that whoever started the program ignores.

    `nohup` ignores SIGHUP, and a shell the Ctrl-C of what it starts in the background.

    Returns:
        The handlers before.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in STOPPING}
    before = {n: handler for n, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, handler)
    return before
