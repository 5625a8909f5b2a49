"""Which classes are taken for which, and how good the probabilities are."""

from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchmetrics.functional.classification import binary_roc, multiclass_confusion_matrix

from zoo.callbacks.tensorboard.data import TestPredictions
from zoo.callbacks.tensorboard.figures import (
    GREY,
    class_colors,
    new_figure,
    plain_axes,
    shortened,
)
from zoo.module import ZooModule

# With more classes the numbers do not fit their cells, and then the names do not fit the axes.
MOST_NUMBERED, MOST_NAMED = 20, 60
MOST_CURVES = 20  # that are told apart in a picture
BINS = 10


def draw_confusion(
    writer: SummaryWriter, model: ZooModule, tested: TestPredictions, step: int
) -> None:
    """Draw the confusion matrix of the test split: counts, and percent of each true class."""
    names = model.class_names
    counts = multiclass_confusion_matrix(tested.predicted, tested.target.long(), len(names))
    shares = 100 * counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    title = f"Test: {int(counts.diagonal().sum()):,} of {int(counts.sum()):,} right"
    figure = confusion_figure(counts, names, title)
    writer.add_figure("confusion/counts", figure, step, close=False)
    figure = confusion_figure(shares, names, f"{title}\npercent of each true class")
    writer.add_figure("confusion/share_of_true_class", figure, step, close=False)


def confusion_figure(values: Tensor, class_names: list[str], title: str) -> Figure:
    """Draw a matrix with class names on the axes and its values in the cells."""
    count = len(class_names)
    names = [shortened(name) for name in class_names]
    side = min(max(0.46 * count, 2.0), 9.0)
    longest = max(map(len, names))
    straight = longest <= 2 or longest * count <= 12 * side
    below = 0.0 if straight else 0.06 * longest
    figure = new_figure(side + 0.9 + 0.08 * longest, side + 1.1 + below)
    axes = figure.add_subplot()
    image = axes.imshow(values.numpy(), cmap="Blues", vmin=0)
    axes.set_title(title, fontsize=11)
    axes.set(xlabel="predicted", ylabel="true")
    if count <= MOST_NAMED:
        small = 10 if count <= MOST_NUMBERED else 7
        turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(count), names, fontsize=small, **({} if straight else turned))
        axes.set_yticks(range(count), names, fontsize=small)
    if count <= MOST_NUMBERED:
        dark = 0.6 * float(values.max())
        for row, column in values.nonzero().tolist():  # an empty cell is read faster than a zero
            value = float(values[row, column])
            color = "white" if value > dark else "black"
            text = f"{value:,.0f}" if value >= 1 else "<1"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
    else:
        figure.colorbar(image, ax=axes, shrink=0.7)
    return figure


def write_pr_curves(
    writer: SummaryWriter, model: ZooModule, tested: TestPredictions, step: int
) -> None:
    """Write a precision-recall curve for each class; of a binary task, for its second class."""
    for index, name in _shown_classes(model):
        truth, scores = tested.target == index, tested.scores[:, index].nan_to_num()
        writer.add_pr_curve(f"pr/{name.replace('/', '_')}", truth.int(), scores, step)


def draw_roc(writer: SummaryWriter, model: ZooModule, tested: TestPredictions, step: int) -> None:
    """Draw the ROC curves of all classes that are in the test split, each against the rest."""
    classes = _shown_classes(model)
    figure = new_figure(7.6, 5.4)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    for (index, name), color in zip(classes, class_colors(len(classes)), strict=True):
        truth, scores = tested.target == index, tested.scores[:, index].nan_to_num()
        if truth.any() and not truth.all():
            false_rate, true_rate, _ = binary_roc(scores, truth.int())
            area = float(torch.trapezoid(true_rate, false_rate))
            label = f"{area:.3f}  {shortened(name)}"
            axes.plot(false_rate, true_rate, color=color, linewidth=1.4, label=label)
    if len(axes.lines) == 1:
        return
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01), aspect="equal")
    axes.set_title("ROC on the test split, one class against the rest", fontsize=11)
    options = {"title": "area under curve", "fontsize": 8, "frameon": False}
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), **options)
    plain_axes(axes)
    writer.add_figure("curves/roc", figure, step, close=False)


def draw_calibration(
    writer: SummaryWriter, model: ZooModule, tested: TestPredictions, step: int
) -> None:
    """Draw how often the network is right when it says it is so sure, and how often it is."""
    confidence, predicted = tested.scores.nan_to_num().max(dim=1)
    counts, sureness, accuracy = reliability(confidence, predicted == tested.target)
    error = float((counts / counts.sum() * (accuracy - sureness).abs()).nansum())
    figure = new_figure(6, 6.4)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="as it should be")
    filled = counts > 0
    axes.plot(sureness[filled], accuracy[filled], "o-", color="#1f77b4", label="measured")
    axes.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="upper left")
    title = f"Calibration on the test split; expected calibration error {error:.3f}"
    axes.set_title(title, fontsize=11)
    middles = [(i + 0.5) / BINS for i in range(BINS)]
    below.bar(middles, counts.tolist(), width=0.9 / BINS, color="#9ecae1")
    below.set(xlabel="probability of the predicted class", ylabel="examples")
    for part in (axes, below):
        plain_axes(part)
    writer.add_figure("curves/calibration", figure, step, close=False)


def reliability(confidence: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return count, mean confidence and accuracy in bins of confidence; NaN where one is empty."""
    index = (confidence * BINS).long().clamp(0, BINS - 1)
    counts = torch.bincount(index, minlength=BINS)
    sums = [torch.bincount(index, values, BINS) for values in (confidence, right.float())]
    return counts, sums[0] / counts, sums[1] / counts


def _shown_classes(model: ZooModule) -> list[tuple[int, str]]:
    named = list(enumerate(model.class_names))
    return named[1:] if model.spec.task == "binary" else named[:MOST_CURVES]
