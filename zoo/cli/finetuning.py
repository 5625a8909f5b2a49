"""`finetuning`: does starting from weights pay, and how much, by how many examples there are?"""

import argparse
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean, stdev

METHODS = ("from scratch", "frozen backbone", "full fine-tuning")
EXAMPLES_PER_CLASS = (10, 50, 500)
# Fixed beforehand, the same for every method: nothing here was chosen by looking at results.
UPDATES, BATCH_SIZE = 300, 32
OPTIMIZER = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}}
PRETRAINING_EPOCHS = 5


@dataclass(frozen=True)
class Transfer:
    """A network pretrained on some classes of a dataset, and new classes for it to learn."""

    title: str
    model: str
    data: str
    seen: list[int]
    unseen: list[int]


TRANSFERS = (
    Transfer("digits 5-9 after 0-4", "mnist_net", "mnist", [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]),
    Transfer(
        "shirt, bag, ankle boot after the other seven garments",
        "fashion_ffnn",
        "fashion_mnist",
        [0, 1, 2, 3, 4, 5, 7],
        [6, 8, 9],
    ),
)


def main(argv: list[str]) -> None:
    """Run `finetuning` with these arguments."""
    parser = argparse.ArgumentParser(prog="finetuning", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data_dir", "--data.data_dir")
    chosen = parser.parse_args(argv)
    from zoo.cli.console import quiet

    quiet()
    print("| task | examples per class | " + " | ".join(METHODS) + " |")
    print("| --- | ---: | " + " | ".join("---" for _ in METHODS) + " |")
    for transfer in TRANSFERS:
        for examples, accuracies in compare(transfer, chosen.seeds, chosen.data_dir):
            cells = [f"{mean(a):.1%} ± {stdev(a):.1%}" for a in accuracies.values()]
            print(f"| {transfer.title} | {examples} | {' | '.join(cells)} |", flush=True)


def compare(
    transfer: Transfer, seeds: int, data_dir: str | None
) -> Iterator[tuple[int, dict[str, list[float]]]]:
    """Yield, for each number of examples, the test accuracies over seeds by method."""
    from lightning.pytorch import seed_everything

    from zoo.registry import create_datamodule, create_model

    options = {"data_dir": data_dir, "batch_size": BATCH_SIZE}
    seen = create_datamodule(transfer.data, classes=transfer.seen, **{**options, "batch_size": 256})
    seed_everything(0, verbose=False)
    pretrained = create_model(transfer.model, datamodule=seen, optimizer=OPTIMIZER)
    _trainer(max_epochs=PRETRAINING_EPOCHS).fit(pretrained, datamodule=seen)
    for examples in EXAMPLES_PER_CLASS:
        accuracies: dict[str, list[float]] = {method: [] for method in METHODS}
        for seed in range(seeds):
            few = {"classes": transfer.unseen, "examples_per_class": examples, "seed": seed}
            data = create_datamodule(transfer.data, **few, **options)
            for method in METHODS:
                seed_everything(seed, verbose=False)
                if method == "from scratch":
                    model = create_model(transfer.model, datamodule=data, optimizer=OPTIMIZER)
                else:
                    model = copy.deepcopy(pretrained)
                    model.reset_head(len(transfer.unseen), data.class_names)
                if method == "frozen backbone":
                    model.freeze_backbone()
                trainer = _trainer(max_steps=UPDATES)
                trainer.fit(model, datamodule=data)
                tested = trainer.test(model, datamodule=data, verbose=False)
                accuracies[method].append(tested[0]["accuracy/test"])
        yield examples, accuracies


def _trainer(**options: int) -> "Trainer":  # noqa: F821
    from lightning.pytorch import Trainer

    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        **options,
    )
