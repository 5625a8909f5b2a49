"""Fit what shipped weights carry beside their tensors: `python scripts/maintain/calibrate.py NAME`.

Temperature and score for the unknown are fitted on validation data, and the card tells what they
do on test data. No tensor changes. Without a name all shipped weights are calibrated.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from datamodules.synthetic import synthetic_letters
from zoo import create_datamodule
from zoo.cards import Card, card_path, read_card, write_card
from zoo.cli import run_main
from zoo.console import quiet
from zoo.evaluation import data_of, measure
from zoo.fitted.calibration import fit_calibration, sentence
from zoo.module import ZooModule
from zoo.recipe import PRETRAINED, list_models
from zoo.running.after_training import measure_calibration, split_logits
from zoo.weights import load_weights, save_weights

#: How many images of each other kind are tried at most.
OUTSIDERS = 10_000


def main(argv: list[str]) -> None:
    """Calibrate shipped weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="names of weights; all that ship if not given")
    quiet()
    for name in parser.parse_args(argv).names or list_models(pretrained=True):
        card = calibrate(PRETRAINED / f"{name}.safetensors")
        told = card.calibration
        print(f"{name}: {sentence(told['temperature'], told['test'])}", told.get("auroc", ""))


def calibrate(weights: Path, data: Any = None) -> Card:
    """Fit, measure and write the calibration of a weights file, and return its card.

    Args:
        weights: The file, with its card beside it; both are written again.
        data: Where its splits are; the card's own data if None.
    """
    card = read_card(card_path(weights))
    model, data = load_weights(weights), data or data_of(card)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = split_logits(model, data, "val")
    model.calibration = None if found is None else fit_calibration(*found)
    told = measure_calibration(model, data)
    if aurocs := _against_others(model, data):
        told["auroc"] = aurocs
    written = save_weights(model, weights)
    card = replace(card, sha256=written.sha256, bytes=written.bytes, calibration=told)
    write_card(card, card_path(weights))
    after = load_weights(weights).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    if model.calibration is None:
        return card
    # The area under the curves of several classes moves in its fifth digit.
    measured = measure(weights, ("val", "test"), data=data, precision=card.precision)
    metrics = {key: round(float(value), 6) for key, value in measured.items()}
    card = replace(card, metrics=metrics)
    write_card(card, card_path(weights))
    return card


def _against_others(model: ZooModule, data: Any) -> dict[str, float]:
    """Return how well test images are told from images of no class: areas under ROC curves."""
    if model.calibration is None or model.calibration.familiarity is None:
        return {}
    if model.spec.kind != "pixels" or tuple(model.spec.input_shape) != (1, 28, 28):
        return {}
    familiarity = model.calibration.familiarity
    found = split_logits(model, data, "test")
    assert found is not None
    own = familiarity.score(found[0])
    return {
        name: round(_auroc(own, familiarity.score(_logits(model, images))), 4)
        for name, images in _outsiders(type(data).__name__).items()
    }


def _outsiders(own: str) -> dict[str, Tensor]:
    """Return images that are none of the classes, by what they are."""
    others = {"digits": "mnist", "garments": "fashion_mnist"}
    others.pop("digits" if own == "MNIST" else "garments")
    noise = torch.randint(256, (2_000, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    return {
        **{name: create_datamodule(of).splits["test"][0] for name, of in others.items()},
        "letters": synthetic_letters()[0],
        "noise": noise.to(torch.uint8),
    }


@torch.inference_mode()
def _logits(model: ZooModule, images: Tensor) -> Tensor:
    return torch.cat([model(part) for part in images[:OUTSIDERS].split(1_000)])


def _auroc(own: Tensor, others: Tensor) -> float:
    scores = torch.cat([own, others])
    ranks = scores.argsort().argsort().double() / len(scores)  # a sigmoid would be taken of others
    is_own = torch.cat([torch.ones(len(own)), torch.zeros(len(others))]).long()
    return binary_auroc(ranks, is_own).item()


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
