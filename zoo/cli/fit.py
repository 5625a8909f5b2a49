"""`fit`: train a network of the zoo on the data that it is paired with."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from zoo.cli.request import Request, parse_request
from zoo.signals import Interrupted

if TYPE_CHECKING:
    from zoo.running.settings import Settings


def main(argv: list[str]) -> None:
    """Run `fit` with these arguments."""
    request = parse_request(argv)
    if request is None:
        return
    from zoo.console import go_on_without_readers, quiet
    from zoo.running.settings import Settings

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

    go_on_without_readers()
    with opened(request.open, Path(settings.config.trainer.default_root_dir or "runs")):
        train(settings, request)


def _help(request: Request) -> str:
    from zoo.cli.help import HelpParser, network_help
    from zoo.running.settings import Settings

    parser = cast(HelpParser, Settings(request.recipe, parser_class=HelpParser).parser)
    return parser.help_of("trainer") if request.help == "trainer" else network_help(parser)


def check(settings: "Settings", batches: int) -> None:
    """Check whether a few batches can be learned by heart, and print the verdict."""
    from zoo.cli import FAILED_STATUS
    from zoo.running.overfitting import check_overfitting
    from zoo.running.training import Training

    training = Training(settings, inspect="none")
    training.announce()
    verdict = check_overfitting(training, batches)
    print(verdict)
    if not verdict.passed:
        sys.exit(FAILED_STATUS)


def train(settings: "Settings", request: Request) -> None:
    """Train, and print what came of it."""
    import torch

    from zoo.running.training import Training

    training = Training(
        settings,
        inspect=request.inspect,
        name=request.name,
        checkpoint_every=request.checkpoint_every,
        resume=request.resume,
    )
    training.announce()
    if request.lr_find:
        from zoo.running.lr_finder import described, find_learning_rate

        print(described(find_learning_rate(training), training.folder), flush=True)
    try:
        run = training.fit()
    except Interrupted:
        if training.trainer.is_global_zero:
            raise
        sys.exit(0)  # the first process speaks; Lightning kills it where another one fails
    finally:
        # Without this, 3 of 12 runs on several processes aborted at exit.
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    if training.trainer.is_global_zero and run.folder:
        print(f"\n{run}")
