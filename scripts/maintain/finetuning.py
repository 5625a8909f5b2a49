"""Does starting from weights pay, and how much? `python scripts/maintain/finetuning.py`.

Prints the README's table: by how many examples of each new class there are.
"""

import argparse
import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from string import ascii_uppercase
from typing import Any

from lightning.pytorch import LightningDataModule

import zoo
from letters import write_letters
from zoo import create_datamodule
from zoo.cli import run_main
from zoo.running.run import Run

METHODS = ("from scratch", "frozen backbone", "full fine-tuning")
EXAMPLES_PER_CLASS = (10, 50, 500)
UPDATES, BATCH_SIZE, PRETRAINING_EPOCHS = 300, 32, 3
LETTERS = 100  # pictures of each, of which 15 % validate and 15 % test: no 500 to learn from
AS_DIGITS = {"size": 28, "channels": 1, "crop": "mass", "polarity": "light_on_dark"}
# Each method has its own best learning rate; it is chosen once, on validation images, with a seed
# that is not among those reported.
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
SELECTION_SEED, SELECTION_EXAMPLES = 1000, 50


@dataclass(frozen=True)
class Transfer:
    """A network pretrained on some classes of a dataset, and new classes for it to learn.

    Without `unseen` these are letters in pictures.
    """

    title: str
    model: str
    data: str
    seen: list[int]
    unseen: list[int] | None


TRANSFERS = (
    Transfer("digits 5-9 after 0-4", "conv_net", "mnist", [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]),
    Transfer(
        "shirt, bag, ankle boot after the other seven garments",
        "conv_net",
        "fashion_mnist",
        [0, 1, 2, 3, 4, 5, 7],
        [6, 8, 9],
    ),
    Transfer("26 letters in ten fonts after all digits", "conv_net", "mnist", [*range(10)], None),
)


def main(argv: list[str]) -> None:
    """Compare the methods on every transfer and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="tasks whose title has this in it")
    chosen = parser.parse_args(argv)
    print("| task | examples per class | " + " | ".join(METHODS) + " |")
    print("| --- | ---: | " + " | ".join("---" for _ in METHODS) + " |")
    for transfer in (t for t in TRANSFERS if chosen.only in t.title):
        for examples, accuracies in compare(transfer, chosen.seeds):
            cells = [f"{mean(a):.1%} ± {stdev(a):.1%}" for a in accuracies.values()]
            print(f"| {transfer.title} | {examples} | {' | '.join(cells)} |", flush=True)


def compare(transfer: Transfer, seeds: int) -> Iterator[tuple[int, dict[str, list[float]]]]:
    """Yield, for each number of examples, the test accuracies over seeds by method."""
    with tempfile.TemporaryDirectory() as folder:
        run = partial(_run, transfer, Path(folder))
        seen = create_datamodule(transfer.data, classes=transfer.seen, batch_size=128)
        pretrained = run(seen, 1e-3, 0, max_epochs=PRETRAINING_EPOCHS).folder
        data, source = transfer.data, dict[str, Any](classes=transfer.unseen)
        if transfer.unseen is None:
            letters = write_letters(Path(folder) / "letters", ascii_uppercase, LETTERS)
            data, source = "images", {"path": str(letters), **AS_DIGITS}
        make = partial(create_datamodule, data, **source, batch_size=BATCH_SIZE)
        learn = partial(_accuracy, partial(run, pretrained=pretrained), make)
        best = {}
        for method in METHODS:
            scores = {
                lr: learn(method, SELECTION_EXAMPLES, lr, SELECTION_SEED, "val")
                for lr in LEARNING_RATES
            }
            best[method] = max(scores, key=scores.__getitem__)
        for examples in EXAMPLES_PER_CLASS[: None if transfer.unseen else -1]:
            yield (
                examples,
                {
                    method: [learn(method, examples, best[method], s, "test") for s in range(seeds)]
                    for method in METHODS
                },
            )


def _accuracy(
    run: Callable[..., Run],
    make: Callable[..., LightningDataModule],
    method: str,
    examples: int,
    lr: float,
    seed: int,
    split: str,
) -> float:
    """Learn the unseen classes from few examples and return the accuracy on a split."""
    data = make(examples_per_class=examples, seed=seed)
    options: dict[str, Any] = {} if method != "from scratch" else {"pretrained": None}
    if method == "frozen backbone":
        options["learning"] = {"freeze": ["backbone"]}
    done = run(data, lr, seed, max_steps=UPDATES, max_epochs=-1, **options)
    return done.metrics[f"accuracy/{split}"]


def _run(
    transfer: Transfer,
    folder: Path,
    data: LightningDataModule,
    lr: float,
    seed: int,
    pretrained: Path | str | None = None,
    **options: Any,
) -> Run:
    with contextlib.redirect_stdout(io.StringIO()):
        return zoo.fit(
            transfer.model,
            data,
            weights=pretrained,
            optimizer="AdamW",
            lr=lr,
            seed=seed,
            inspect="none",
            default_root_dir=folder,
            check_val_every_n_epoch=10**9,
            **options,
        )


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
