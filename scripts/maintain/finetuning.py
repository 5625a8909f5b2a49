"""Does starting from weights pay, and how much? `python scripts/maintain/finetuning.py`.

Prints the README's table: by how many examples of each new class there are.
"""

import argparse
import copy
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from lightning.pytorch import Trainer, seed_everything

from datamodules import TensorDataModule
from zoo import ZooModule, create_datamodule, create_model
from zoo.cli import run_main
from zoo.console import quiet

METHODS = ("from scratch", "frozen backbone", "full fine-tuning")
EXAMPLES_PER_CLASS = (10, 50, 500)
UPDATES, BATCH_SIZE, PRETRAINING_EPOCHS = 300, 32, 3
# Each method has its own best learning rate; it is chosen once, on validation images, with a seed
# that is not among those reported.
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
SELECTION_SEED, SELECTION_EXAMPLES = 1000, 50


@dataclass(frozen=True)
class Transfer:
    """A network pretrained on some classes of a dataset, and new classes for it to learn."""

    title: str
    model: str
    data: str
    seen: list[int]
    unseen: list[int]


TRANSFERS = (
    Transfer("digits 5-9 after 0-4", "conv_net", "mnist", [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]),
    Transfer(
        "shirt, bag, ankle boot after the other seven garments",
        "conv_net",
        "fashion_mnist",
        [0, 1, 2, 3, 4, 5, 7],
        [6, 8, 9],
    ),
)


def main(argv: list[str]) -> None:
    """Compare the methods on every transfer and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args(argv)
    quiet()
    print("| task | examples per class | " + " | ".join(METHODS) + " |")
    print("| --- | ---: | " + " | ".join("---" for _ in METHODS) + " |")
    for transfer in TRANSFERS:
        for examples, accuracies in compare(transfer, chosen.seeds):
            cells = [f"{mean(a):.1%} ± {stdev(a):.1%}" for a in accuracies.values()]
            print(f"| {transfer.title} | {examples} | {' | '.join(cells)} |", flush=True)


def compare(transfer: Transfer, seeds: int) -> Iterator[tuple[int, dict[str, list[float]]]]:
    """Yield, for each number of examples, the test accuracies over seeds by method."""
    pretrained = _pretrained(transfer)

    def data(examples: int, seed: int) -> TensorDataModule:
        return create_datamodule(
            transfer.data,
            classes=transfer.unseen,
            examples_per_class=examples,
            batch_size=BATCH_SIZE,
            seed=seed,
        )

    best = {}
    trial = data(SELECTION_EXAMPLES, SELECTION_SEED)
    for method in METHODS:
        scores = {
            lr: _accuracy(method, pretrained, transfer, trial, lr, SELECTION_SEED, "val")
            for lr in LEARNING_RATES
        }
        best[method] = max(scores, key=scores.get)
    for examples in EXAMPLES_PER_CLASS:
        accuracies: dict[str, list[float]] = {method: [] for method in METHODS}
        for seed in range(seeds):
            few = data(examples, seed)
            for method in METHODS:
                score = _accuracy(method, pretrained, transfer, few, best[method], seed, "test")
                accuracies[method].append(score)
        yield examples, accuracies


def _pretrained(transfer: Transfer) -> ZooModule:
    """Train a network on the seen classes alone."""
    seen = create_datamodule(transfer.data, classes=transfer.seen, batch_size=128)
    seed_everything(0, verbose=False)
    model = create_model(transfer.model, datamodule=seen, optimizer=_adamw(1e-3))
    _trainer(max_epochs=PRETRAINING_EPOCHS).fit(model, datamodule=seen)
    return model


def _accuracy(
    method: str,
    pretrained: ZooModule,
    transfer: Transfer,
    data: TensorDataModule,
    lr: float,
    seed: int,
    split: str,
) -> float:
    """Learn the unseen classes from few examples and return the accuracy on a split."""
    seed_everything(seed, verbose=False)
    if method == "from scratch":
        model = create_model(transfer.model, datamodule=data, optimizer=_adamw(lr))
    else:
        model = copy.deepcopy(pretrained)
        model.reset_head(len(transfer.unseen), data.class_names)
        model.learn({"optimizer": _adamw(lr)})
    if method == "frozen backbone":
        model.freeze_backbone()
    trainer = _trainer(max_steps=UPDATES)
    trainer.fit(model, datamodule=data)
    measure = trainer.validate if split == "val" else trainer.test
    return measure(model, datamodule=data, verbose=False)[0][f"accuracy/{split}"]


def _adamw(lr: float) -> dict[str, Any]:
    return {"class_path": "torch.optim.AdamW", "init_args": {"lr": lr}}


def _trainer(**options: int) -> Trainer:
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=10**9,
        **options,
    )


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
