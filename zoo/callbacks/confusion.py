"""Which classes the network takes for which."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from zoo.callbacks.board import Outcome, OutcomeInspector
from zoo.callbacks.figures import add_figure, new_figure, shortened
from zoo.module import ZooModule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# With more classes the numbers do not fit their cells, and then the names do not fit the axes.
MOST_NUMBERED, MOST_NAMED = 20, 60


class ConfusionMatrix(OutcomeInspector):
    """The confusion matrix of the test split: as counts, and as shares of each true class."""

    def inspect(self, writer: SummaryWriter, shown: Outcome, pl_module: ZooModule) -> None:
        """Write both pictures."""
        counts = confusion_counts(shown.target, shown.predicted, len(shown.class_names))
        shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
        title = f"Test: {int(counts.diagonal().sum()):,} of {int(counts.sum()):,} right"
        figure = confusion_figure(counts, shown.class_names, title)
        add_figure(writer, "confusion/counts", figure, shown.step)
        title += "\npercent of each true class"
        figure = confusion_figure(100 * shares, shown.class_names, title)
        add_figure(writer, "confusion/share_of_true_class", figure, shown.step)


def confusion_counts(target: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Count examples by true class (rows) and predicted class (columns)."""
    pairs = target.long() * classes + predicted.long()
    return torch.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def confusion_figure(values: Tensor, class_names: list[str], title: str) -> "Figure":
    """Draw a matrix with class names on the axes and its values in the cells."""
    count = len(class_names)
    names = [shortened(name) for name in class_names]
    # A layout that measures every text would take longer than all the drawing.
    side = min(max(0.46 * count, 2.0), 9.0)
    longest = max(map(len, names))
    straight = longest <= 2 or longest * count <= 12 * side
    left, below = 0.7 + 0.08 * longest, 0.55 if straight else 0.6 + 0.06 * longest
    whole = (left + side + (0.25 if count <= MOST_NUMBERED else 1.2), 0.55 + side + below)
    figure = new_figure(*whole)
    axes = figure.add_axes((left / whole[0], below / whole[1], side / whole[0], side / whole[1]))
    image = axes.imshow(values.numpy(), cmap="Blues", vmin=0)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if count <= MOST_NAMED:
        small = 10 if count <= MOST_NUMBERED else 7
        turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(count), names, fontsize=small, **({} if straight else turned))
        axes.set_yticks(range(count), names, fontsize=small)
    if count <= MOST_NUMBERED:
        dark = 0.6 * float(values.max())
        for row in range(count):
            for column in range(count):
                value = float(values[row, column])
                if value == 0:  # an empty cell is read faster than a zero
                    continue
                colour = "white" if value > dark else "black"
                text = f"{value:,.0f}" if value >= 0.5 else "<1"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    else:
        figure.colorbar(image, cax=axes.inset_axes((1.03, 0.15, 0.03, 0.7)))
    return figure
