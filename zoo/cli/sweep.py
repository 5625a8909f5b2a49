"""`sweep`: search settings, or repeat a run over seeds or folds."""

import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

from zoo.cli import CommandParser
from zoo.cli.request import parse_request
from zoo.errors import UserError
from zoo.signals import Interrupted

if TYPE_CHECKING:
    from zoo.running.settings import Settings

USAGE = """usage: sweep --model NAME [--grid ... | --random ... | --seeds N | --folds N] [options]

Train a network many times. Any option of `fit` beside these is shared by all trials; the same
command again, here or on other machines that share the folder, goes on with what is left.

  --grid NAME=V,V ...      all combinations of these values, such as optimizer.lr=1e-1,1e-2
                           model.dropout=0,0.2; the rates 1e-2 to 1e-5 if nothing is given
  --random NAME=RANGE ...  drawn from log(a,b), uniform(a,b), int(a,b) or V,V; without ranges
                           10^-U(2,4) for the rate and U(0.85,0.99) for a momentum
  --search tpe             within these ranges, what came of earlier trials chooses
  --trials N               how many are drawn (20)
  --seeds N                the same run with N seeds: mean and standard deviation
  --folds N                cross-validation; predictions out of fold are kept as a file
  --metric METRIC          what tells the best trial, such as loss/val
  --prune                  end trials that are worse than the median of the others, from a third on
  --jobs N                 processes (1)
  --storage STORAGE        a journal file, or a storage URL of Optuna
  --name NAME              a name for the sweep and its folder
"""


def main(argv: list[str]) -> None:
    """Run `sweep` with these arguments."""
    parser = CommandParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--grid", nargs="*")
    parser.add_argument("--random", nargs="*")
    for option in ("--trials", "--seeds", "--folds", "--jobs"):
        parser.add_argument(option, type=int)
    for option in ("--search", "--metric", "--storage", "--name"):
        parser.add_argument(option)
    parser.add_argument("--prune", action="store_true")
    chosen, rest = parser.parse_known_args(argv)
    if chosen.help:
        print(USAGE, end="")
        return
    if parse_request(rest) is None:  # a listing
        return
    from zoo.console import quiet
    from zoo.sweeping.plan import make_plan
    from zoo.sweeping.sweep import run_plan

    quiet()
    options = {key: value for key, value in vars(chosen).items() if key not in ("help", "jobs")}
    plan = make_plan(partial(prepare, rest), shlex.join(rest), **options)
    jobs = chosen.jobs if chosen.jobs is not None else 1
    command = shlex.join(["python", "scripts/fit.py", *rest])
    try:
        found = run_plan(plan, jobs, lambda point: " ".join([command, *_options(point)]))
    except KeyboardInterrupt as error:
        again = shlex.join(["python", "scripts/sweep.py", *argv])
        status = getattr(error, "status", Interrupted().status)
        raise Interrupted(status - 128, f"interrupted; go on with: {again}") from None
    print(found)


def prepare(argv: list[str], settings: dict[str, Any]) -> "tuple[Settings, None, str]":
    """Return what a training is made of: `fit` with these arguments and further settings."""
    from zoo.running.settings import Settings

    request = parse_request([*argv, *(f"--{name}={value}" for name, value in settings.items())])
    alone = ("help", "print_config", "open", "lr_find", "overfit")
    if request is None or (given := [name for name in alone if getattr(request, name)]):
        raise UserError(f"A sweep does not take --{given[0] if request else 'list'} of `fit`.")
    return Settings(request.recipe, request.argv), None, request.inspect


def _options(point: dict[str, str]) -> list[str]:
    return [shlex.quote(f"--{name}={value}") for name, value in point.items()]
