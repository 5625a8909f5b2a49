"""Put the best of several runs into the package: `python scripts/maintain/ship.py RUN RUN RUN`.

The runs are of one recipe with a seed each; the card tells what all of them reached.
"""

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from calibrate import calibrate
from zoo.cards import Card, card_path, read_card, weights_path, write_card
from zoo.cli import Trust, run_main
from zoo.console import quiet
from zoo.errors import UserError
from zoo.evaluation import data_of, measure
from zoo.names import checked_name
from zoo.recipe import PRETRAINED
from zoo.weights import dataset_of, load_weights

# Means over fewer seeds say too little about the next one.
MIN_SEEDS = 3


def main(argv: list[str]) -> None:
    """Ship the run with the best validation metric."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="runs of one recipe, one for each seed")
    parser.add_argument("--trust", action=Trust)
    parser.add_argument("--name", help="name of the weights; the recipe's if not given")
    parser.add_argument(
        "--busy", action="store_true", help="the machine did other things too: no training time"
    )
    chosen = parser.parse_args(argv)
    if chosen.name is not None:
        checked_name(chosen.name, "--name")
    quiet()
    files = [weights_path(run) for run in chosen.runs]
    cards = [read_card(card_path(file)) for file in files]
    _check(cards)
    # The runs may have trained in bfloat16; whoever loads the weights has float32.
    data = data_of(cards[0])
    for i, file in enumerate(files):
        measured = measure(file, ("val", "test"), data=data, precision="32-true")
        metrics = {key: round(float(value), 6) for key, value in measured.items()}
        described = {"dataset": dataset_of(data), "files": dict(data.checksums)}
        cards[i] = replace(cards[i], metrics=metrics, precision="32-true", **described)
    monitored = "loss/val" if "accuracy/val" not in cards[0].metrics else "accuracy/val"
    sign = -1 if monitored.startswith("loss") else 1
    best = max(range(len(cards)), key=lambda i: sign * cards[i].metrics[monitored])
    seeds = {key: _over_seeds([card.metrics[key] for card in cards]) for key in cards[0].metrics}
    name = chosen.name or cards[best].name
    target = PRETRAINED / f"{name}.safetensors"
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(files[best], target)
    model = load_weights(files[best])
    with torch.no_grad():
        golden = [[round(v, 5) for v in row] for row in model(model.example_input_array).tolist()]
    card = replace(cards[best], name=name, seeds=seeds, golden_logits=golden)
    if chosen.busy:
        card = replace(card, seconds=None)
    write_card(card, card_path(target))
    card = calibrate(target, data)
    for key, values in seeds.items():
        print(f"{key:14} {values['mean']:.4f} ± {values['std']:.4f}")
    print(f"{target}: seed {card.seed}, {monitored} {card.metrics[monitored]:.4f}")


def _check(cards: list[Card]) -> None:
    seeds = [card.seed for card in cards]
    if len(set(seeds)) < max(MIN_SEEDS, len(seeds)):
        raise UserError(f"Weights are shipped after {MIN_SEEDS} seeds or more, not {seeds}.")
    if any(card.dataset["origin"] == "synthetic" for card in cards):
        raise UserError("Weights from synthetic data are not shipped.")
    first = {**cards[0].recipe, "seed_everything": None}
    for card in cards[1:]:
        if {**card.recipe, "seed_everything": None} != first:
            raise UserError(f"The runs of seeds {seeds} are not of one recipe.")


def _over_seeds(values: list[float]) -> dict[str, Any]:
    return {"mean": round(mean(values), 6), "std": round(stdev(values), 6), "values": values}


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
