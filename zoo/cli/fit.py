"""`fit`: train a network of the zoo on the data that it is paired with."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cli.request import Request, parse_request

if TYPE_CHECKING:
    from zoo.settings import Settings


def main(argv: list[str]) -> None:
    """Run `fit` with these arguments."""
    request = parse_request(argv)
    if request is None:
        return
    from zoo.console import quiet
    from zoo.settings import Settings

    quiet()
    if request.help:
        print(_help(request))
        return
    trial = ["--trainer.fast_dev_run=true"] if request.overfit else []  # leaves nothing behind
    settings = Settings(request.recipe, [*request.argv, *trial])
    if request.print_config:
        import yaml

        print(yaml.safe_dump(settings.as_recipe(), sort_keys=False, allow_unicode=True), end="")
        return
    if request.overfit:
        check(settings, request.overfit)
        return
    from zoo.cli.tensorboard import opened

    with opened(request.open, Path(settings.config.trainer.default_root_dir or "runs")):
        train(settings, request.inspect, request.name, request.lr_find)


def _help(request: Request) -> str:
    from zoo.cli.help import HelpParser, network_help
    from zoo.settings import Settings

    parser = Settings(request.recipe, parser_class=HelpParser).parser
    return parser.help_of("trainer") if request.help == "trainer" else network_help(parser)


def check(settings: "Settings", batches: int) -> None:
    """Check whether a few batches can be learned by heart, and print the verdict."""
    from zoo.cli import FAILED_STATUS
    from zoo.overfitting import check_overfitting
    from zoo.training import Training

    training = Training(settings, inspect="none")
    training.announce()
    verdict = check_overfitting(training, batches)
    print(verdict)
    if not verdict.passed:
        sys.exit(FAILED_STATUS)


def train(
    settings: "Settings", inspect: str = "none", name: str = "", lr_find: bool = False
) -> None:
    """Train, and print what came of it."""
    import torch

    from zoo.cli import INTERRUPTED_STATUS
    from zoo.run_folder import CHECKPOINTS
    from zoo.training import Training

    training = Training(settings, inspect=inspect, name=name)
    training.announce()
    if lr_find:
        from zoo.lr_finder import described, find_learning_rate

        print(described(find_learning_rate(training), training.folder), flush=True)
    try:
        run = training.fit()
    except SystemExit:
        # Lightning has taken the Ctrl-C, saved and stopped its processes.
        last = training.folder / CHECKPOINTS / "last.ckpt" if training.folder else None
        advice = ""
        if last and last.exists():
            advice = f"; go on with: --config {training.folder / 'config.yaml'} --ckpt_path {last}"
        if training.trainer.is_global_zero:
            print(f"\ninterrupted{advice}", file=sys.stderr)
        sys.exit(INTERRUPTED_STATUS)
    finally:
        # Without this, 3 of 12 runs on several processes aborted at exit.
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    if training.trainer.is_global_zero and run.folder:
        print(f"\n{run}")
