"""Call functions in forks of a process that has imported everything: a case takes no start."""

import io
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

KILLED = -9


def forked(
    function: Callable[[], object],
    output: Path,
    limit: float = 120.0,
    meanwhile: Callable[[], object] = lambda: None,
) -> tuple[int, str]:
    """Call a function in a fork of this process.

    Args:
        function: What to call.
        output: A file for what it prints.
        limit: Seconds after which it is killed.
        meanwhile: Called again and again until the fork has ended; it is killed once that is true.

    Returns:
        Its exit status, negative if a signal ended it, and what it printed.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _be_the_fork(function, output)
    ended = time.monotonic() + limit
    while (found := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > ended or meanwhile():
            os.kill(child, -KILLED)
            found = os.waitpid(child, 0)
            break
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(found[1]), output.read_text(errors="replace")


def _be_the_fork(function: Callable[[], object], output: Path) -> None:
    status = 1
    try:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(handle, number)
            setattr(sys, name, io.TextIOWrapper(io.FileIO(number, "w"), write_through=True))
        function()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # it ends in what it prints
        traceback.print_exc()
    os._exit(status)
