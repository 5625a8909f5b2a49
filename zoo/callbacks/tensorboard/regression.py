"""How good predicted values are."""

import math

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from zoo.callbacks.tensorboard.data import TestPredictions
from zoo.callbacks.tensorboard.figures import GREY, new_figure, plain_axes, shortened
from zoo.module import ZooModule

MOST_POINTS, MOST_TARGETS = 2000, 4


def draw_predictions(
    writer: SummaryWriter, model: ZooModule, tested: TestPredictions, step: int
) -> None:
    """Draw predicted against true values of up to 2,000 test examples, for up to four targets."""
    outputs = min(tested.scores.shape[1], MOST_TARGETS)
    names = target_names(model)
    columns, rows = min(outputs, 2), math.ceil(outputs / 2)
    figure = new_figure(5.2 * columns, 5.2 * rows)
    for i, name in enumerate(names[:outputs]):
        axes = figure.add_subplot(rows, columns, i + 1)
        true, predicted = tested.target[:, i], tested.scores[:, i]
        finite = true.isfinite() & predicted.isfinite()
        true, predicted = true[finite], predicted[finite]
        if not len(true):
            continue
        some = slice(None, None, math.ceil(len(true) / MOST_POINTS))
        size = 8 if len(true) > 200 else 16
        axes.scatter(true[some], predicted[some], s=size, alpha=0.5, edgecolors="none")
        low, high = float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))
        margin = 0.04 * (high - low) or 1.0
        ends = (low - margin, high + margin)
        axes.plot(ends, ends, color=GREY, linestyle=":", linewidth=1)
        axes.set(xlim=ends, ylim=ends, xlabel=f"true {name}", ylabel=f"predicted {name}")
        error = float((true - predicted).abs().mean())
        title = f"{name}: mean absolute error {error:.4g}, R² {r2(true, predicted)}"
        axes.set_title(title, fontsize=10)
        plain_axes(axes)
    writer.add_figure("prediction/predicted_versus_true", figure, step, close=False)


def target_names(model: ZooModule) -> list[str]:
    """Return a name for each value that the network predicts."""
    names = (model.spec.preprocessing.get("target") or {}).get("names")
    count = model.spec.num_outputs
    numbered = ["target"] if count == 1 else [f"target {i}" for i in range(count)]
    return [shortened(name, 30) for name in (names if names and len(names) == count else numbered)]


def r2(true: Tensor, predicted: Tensor) -> str:
    """Return the coefficient of determination, formatted; `undefined` if all targets are equal."""
    spread = float(((true - true.mean()) ** 2).sum())
    return f"{1 - float(((true - predicted) ** 2).sum()) / spread:.3f}" if spread else "undefined"
