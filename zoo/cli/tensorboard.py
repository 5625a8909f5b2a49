"""TensorBoard beside a run: `--open` starts it and prints where it is."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class TensorBoard:
    """A TensorBoard server on a free port of 127.0.0.1, until it is stopped.

    It is reachable from this machine alone. The link is printed when the server answers, some
    seconds after the start, so training need not wait for it.

    Args:
        logdir: What it shows: all runs below this folder, side by side.
        tell: What to do with the link; print it.
    """

    def __init__(self, logdir: Path, tell: Callable[[str], None] | None = None) -> None:
        self.url: str | None = None
        self._tell = tell or (lambda url: print(f"tensorboard  {url}", flush=True))
        # With port 0 the system chooses a free one: nobody can take it between asking and binding.
        arguments = ["--logdir", str(logdir), "--host", "127.0.0.1", "--port", "0"]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tensorboard.main", *arguments, "--reload_interval", "5"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # A Ctrl-C is for the training; TensorBoard shows its last state until we stop it.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Find the link in what the server says, and keep the pipe from filling up."""
        last = ""
        for line in self._process.stderr or ():
            found = re.search(r"http://\S+", line)
            if self.url is None and found:
                self.url = found.group()
                self._tell(self.url)
            last = line.strip() or last
        if self.url is None:
            print(f"warning: TensorBoard did not start: {last}", file=sys.stderr)

    @property
    def is_running(self) -> bool:
        """Whether the server has not ended."""
        return self._process.poll() is None

    def serve(self) -> None:
        """Go on until Ctrl-C, or until the server ends by itself."""
        if self.is_running:
            print("TensorBoard goes on until Ctrl-C", flush=True)
        try:
            self._process.wait()
        except KeyboardInterrupt:
            print()
        finally:
            self.stop()

    def stop(self) -> None:
        """End the server."""
        if self.is_running:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(timeout=5)


@contextmanager
def opened(wanted: bool, logdir: Path) -> Iterator[None]:
    """Have TensorBoard beside what is done here, and until Ctrl-C after that.

    If it ends by an error or a Ctrl-C, TensorBoard ends with it. Of the processes that Lightning
    starts for a run, only the first has a TensorBoard.
    """
    if not wanted or os.environ.get("LOCAL_RANK", "0") != "0":
        yield
        return
    server = TensorBoard(logdir)
    try:
        yield
        server.serve()
    finally:
        server.stop()
