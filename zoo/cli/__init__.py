"""The front end behind every script; importing it imports no torch."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from zoo.errors import NotFiniteError, UserError, unknown
from zoo.loading.classes import allow, trusting
from zoo.signals import Interrupted, handle, received, stop_at_once

COMMANDS = {
    "fit": "train a network",
    "sweep": "search settings, or repeat a run over seeds or folds",
    "evaluate": "repeat the test metrics of a run or of shipped weights",
    "predict": "predict on a new CSV file",
    "export": "write a network as an ONNX or PT2 file",
    "demo": "try a network on a page in the browser",
    "models": "list the networks, or show one",
}
FAILED_STATUS = 1
# How often a thread looks whether there is work again before it sleeps; 300,000 times by default.
# Of two that share a core with others' work, one then waits for the other to be let on: an update
# of fashion_ffnn by 2 threads took 50-440 ms, so 28-48, and alone 2.6 instead of 2.4 (3.0 by one).
SPINS = 10_000
USAGE_STATUS = 2


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

    def chosen(argv: list[str]) -> None:
        if command not in COMMANDS:
            raise unknown("command", command, COMMANDS)
        importlib.import_module(f"zoo.cli.{command}").main(argv)

    run_main(chosen, argv)


def run_main(main: Callable[[list[str]], None], argv: Iterable[str]) -> None:
    """Call the `main` of a command or script; a user's mistake ends in a message and status 2."""
    # jsonargparse asks `python -c` where packages are: not to look where we happen to stand.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))  # read when torch is imported
    before = handle(stop_at_once)
    received.clear()
    try:
        with trusting():  # what `--trust` allows, it allows to this command
            main(list(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USAGE_STATUS)
    except NotFiniteError as error:  # no mistake in the command, and no bug of ours
        print(f"error: {error}", file=sys.stderr)
        sys.exit(FAILED_STATUS)
    except KeyboardInterrupt as error:
        _end(error if isinstance(error, Interrupted) else Interrupted())
    except SystemExit:
        if not received:
            raise
        _end(Interrupted(received[0]))  # Lightning took it
    except BrokenPipeError:  # `... | head` closed our output: no reason to complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for number, handler in before.items():
        signal.signal(number, handler)


def _end(error: Interrupted) -> None:
    handle(signal.SIG_IGN)  # a second one would only spoil the message
    print(f"\n{error}", file=sys.stderr)
    sys.exit(error.status)


class CommandParser(argparse.ArgumentParser):
    """A parser of a command's options that complains in one sentence."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Leave the options of another parser to it.

        argparse takes one that it does not know for a value if a space is in it: the
        `--trainer.default_root_dir=my runs` after `--resume` for the run's folder.
        """
        args = list(sys.argv[1:] if args is None else args)
        for i, argument in enumerate(args):
            option, equals, value = argument.partition("=")
            unknown_here = option not in self._option_string_actions and not self.allow_abbrev
            if equals and option.startswith("--") and unknown_here:
                args[i] = option + equals + value.replace(" ", "\0")
        chosen, rest = super().parse_known_args(args, namespace)
        return chosen, [argument.replace("\0", " ") for argument in rest]

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            UserError: Always.
        """
        raise UserError(f"{message[0].upper()}{message[1:].rstrip('.')}.")


class Trust(argparse.Action):
    """`--trust CLASS`: allow weights, cards and checkpoints to name a class of the user's."""

    def __init__(self, option_strings: list[str], dest: str, **_: Any) -> None:
        text = "a class of your own that weights or a card may name, such as my_network.Net"
        super().__init__(option_strings, dest, metavar="CLASS", help=text)

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        """Allow the class, as long as the command runs."""
        allow(values)


def script(command: str) -> None:
    """Run one command with the arguments of this process: all that a script does."""
    # Python has put the script's folder in front: our predict.py would be found for a user's.
    if sys.path and Path(sys.path[0]) == Path(sys.argv[0]).resolve().parent:
        del sys.path[0]
    run_command(command, *sys.argv[1:])
