"""The front end behind every script; importing it imports no torch."""

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from zoo.errors import UserError, unknown

COMMANDS = {
    "fit": "train a network",
    "evaluate": "repeat the test metrics of a run or of shipped weights",
    "predict": "predict on a new CSV file",
    "models": "list the networks, or show one",
}
USAGE_STATUS = 2
INTERRUPTED_STATUS = 130  # 128 + SIGINT, as a shell reports it


def main(argv: list[str] | None = None) -> None:
    """Run `zoo COMMAND ...`: the entry point of `python -m zoo`."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print("usage: python -m zoo COMMAND [--help] ...\n\ncommands:")
        for command, purpose in COMMANDS.items():
            print(f"  {command:{width}}  {purpose}")
        sys.exit(0 if argv else USAGE_STATUS)
    run_command(*argv)


def run_command(command: str, *argv: str) -> None:
    """Run one command of `COMMANDS` by its name."""
    with contextlib.suppress(FileNotFoundError):  # the folder we are in may be gone
        if (folder := str(Path.cwd())) not in sys.path:
            sys.path.append(folder)  # where the classes of a user's own run are

    def chosen(argv: list[str]) -> None:
        if command not in COMMANDS:
            raise unknown("command", command, COMMANDS)
        importlib.import_module(f"zoo.cli.{command}").main(argv)

    run_main(chosen, argv)


def run_main(main: Callable[[list[str]], None], argv: Iterable[str]) -> None:
    """Call the `main` of a command or script; a user's mistake ends in a message and status 2."""
    try:
        main(list(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USAGE_STATUS)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(INTERRUPTED_STATUS)
    except BrokenPipeError:  # `... | head` closed our output: no reason to complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def script(command: str) -> None:
    """Run one command with the arguments of this process: all that a script does."""
    run_command(command, *sys.argv[1:])
