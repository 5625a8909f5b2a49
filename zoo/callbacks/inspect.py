"""Which inspections a run has: `--inspect none|basic|full`, some of them left out on request.

Importing this module imports no torch: the front end reads the names in it before anything heavy.
"""

import importlib
from typing import TYPE_CHECKING

from zoo.errors import unknown

if TYPE_CHECKING:
    from lightning.pytorch import Callback

LEVELS = ("none", "basic", "full")

# Name: the least level that has it, and the class in this room.
INSPECTORS = {
    "scalars": ("basic", "scalars.OptimizationScalars"),
    "hparams": ("basic", "hparams.HParamsTable"),
    "text": ("basic", "text.RunTexts"),
    "graph": ("basic", "graph.NetworkGraph"),
    "confusion": ("basic", "confusion.ConfusionMatrix"),
    "gallery": ("basic", "images.WrongGallery"),
    "prediction": ("basic", "curves.PredictedVersusTrue"),
    "weights": ("full", "images.FirstLayerWeights"),
    "batch": ("full", "images.TrainingBatch"),
    "decision": ("full", "decision.DecisionSurface"),
    "curves": ("full", "curves.ClassCurves"),
    "calibration": ("full", "curves.Calibration"),
    "histograms": ("full", "histograms.LayerHistograms"),
    "projector": ("full", "projector.FeatureProjector"),
}


def chosen_inspectors(spec: str) -> list[str]:
    """Return the names of the inspections that `--inspect SPEC` asks for.

    Args:
        spec: A level, and after commas what to leave out of it: `full,-projector,-graph`.

    Raises:
        UserError: If the level or a name is unknown.
    """
    level, *left_out = spec.split(",")
    if level not in LEVELS:
        raise unknown("level of --inspect called", level, LEVELS)
    without = [name.removeprefix("-") for name in left_out]
    for name in without:
        if name not in INSPECTORS:
            raise unknown("inspection to leave out called", name, INSPECTORS)
    return [
        name
        for name, (least, _) in INSPECTORS.items()
        if LEVELS.index(level) >= LEVELS.index(least) and name not in without
    ]


def inspectors(spec: str = "basic") -> "list[Callback]":
    """Return the callbacks that write a run into TensorBoard.

    Args:
        spec: A level, and after commas what to leave out of it: `full,-projector,-graph`.

    Returns:
        One callback that calls the chosen ones, or none. Lightning spends about 3 microseconds for
        each callback at each of six hooks of every step; in one, 14 of them cost as much as one.
    """
    parts = []
    for name in chosen_inspectors(spec):
        module, _, class_name = INSPECTORS[name][1].partition(".")
        parts.append(getattr(importlib.import_module(f"zoo.callbacks.{module}"), class_name)())
    if not parts:
        return []
    from zoo.callbacks.together import Together

    return [Together(parts)]
