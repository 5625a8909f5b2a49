"""`fit`: train a network of the zoo on the data that it is paired with."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.cli.front import understand

if TYPE_CHECKING:
    from zoo.cli.parser import FitCLI


def main(argv: list[str]) -> None:
    """Run `fit` with these arguments."""
    request = understand(argv)
    if request is None:
        return
    from zoo.cli.console import quiet
    from zoo.cli.parser import FitCLI

    quiet()
    if request.help:
        FitCLI(request.recipe, ["--help"])
    cli = FitCLI(request.recipe, request.argv, only_parse=request.print_config)
    if request.print_config:
        import yaml

        print(yaml.safe_dump(cli.as_recipe(), sort_keys=False, allow_unicode=True), end="")
        return
    from zoo.cli.tensorboard import opened

    with opened(request.open, Path(cli.config.trainer.default_root_dir or "runs")):
        train(cli, request.pretrained, request.inspect)


def train(cli: "FitCLI", pretrained: bool, inspect: str = "none") -> None:
    """Train, and print what came of it."""
    import torch
    from lightning.pytorch.loggers import TensorBoardLogger

    from zoo.callbacks.tensorboard import tensorboard_panels
    from zoo.cli import INTERRUPTED_STATUS
    from zoo.cli.console import by_split, duration, metrics_table
    from zoo.cli.run import CHECKPOINTS, Training, check_checkpoint
    from zoo.registry import pretrained_path
    from zoo.weights import load_backbone

    ckpt_path = cli.config.ckpt_path
    if ckpt_path:
        check_checkpoint(Path(ckpt_path), cli.model)
    if pretrained:
        print(load_backbone(cli.model, pretrained_path(cli.recipe.name)))
    training = Training(cli, callbacks=tensorboard_panels(inspect))
    if training.trainer.is_global_zero:
        print(training.describe(), flush=True)
    try:
        metrics = training.fit(ckpt_path)
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
    if not training.trainer.is_global_zero or training.folder is None:
        return
    titles = {"train": "train", "val": "validation", "test": "test"}
    nested = by_split(metrics)
    shown = {titles[s]: nested[s] for s in titles if s in nested}
    if cli.datamodule.origin == "synthetic":
        shown = {f"{split} (synthetic)": values for split, values in shown.items()}
    first = getattr(cli.datamodule, "first_metrics", ())
    print(f"\n{metrics_table(shown, first)}\n")
    epochs = f"{training.epochs} epoch{'s' * (training.epochs != 1)}"
    print(f"time         {duration(training.seconds)}, {epochs}")
    if training.selected_checkpoint:  # Lightning's path is absolute, and the others are as given
        print(f"checkpoint   {training.folder / CHECKPOINTS / training.selected_checkpoint.name}")
    print(f"weights      {training.folder / 'weights.safetensors'}")
    for logger in training.trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            print(f"tensorboard  tensorboard --logdir {logger.save_dir}")
