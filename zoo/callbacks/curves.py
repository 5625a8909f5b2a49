"""How good the probabilities are (PR, ROC, calibration), and how good predicted values are."""

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from zoo.callbacks.board import Outcome, OutcomeInspector
from zoo.callbacks.figures import GREY, add_figure, new_figure, plain_axes, shortened
from zoo.module import ZooModule

MOST_CLASSES = 20  # that are told apart in a picture
MOST_POINTS = 2000
BINS = 10


class ClassCurves(OutcomeInspector):
    """A precision-recall curve for each class (page PR CURVES), and all ROC curves in a picture."""

    def inspect(self, writer: SummaryWriter, shown: Outcome, pl_module: ZooModule) -> None:
        """Write them; of a binary task, those of its second class."""
        curves = []
        for index, name in _classes(shown):
            truth = shown.target == index
            scores = shown.scores[:, index].nan_to_num()
            writer.add_pr_curve(f"pr/{_tag(name)}", truth.int(), scores, shown.step)
            if truth.any() and not truth.all():
                curves.append((name, *roc(scores, truth)))
        if curves:
            self._draw(writer, curves, shown.step)

    def _draw(
        self, writer: SummaryWriter, curves: list[tuple[str, Tensor, Tensor]], step: int
    ) -> None:
        figure = new_figure(7.6, 5.4, layout="constrained")
        axes = figure.add_subplot()
        from matplotlib import colormaps

        colours = colormaps["tab10" if len(curves) <= 10 else "tab20"]
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        for i, (name, false_rate, true_rate) in enumerate(curves):
            area = float(torch.trapezoid(true_rate, false_rate))
            label = f"{area:.3f}  {shortened(name)}"
            axes.plot(false_rate, true_rate, color=colours(i), linewidth=1.4, label=label)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
        axes.set(xlim=(-0.01, 1), ylim=(0, 1.01), aspect="equal")
        axes.set_title("ROC on the test split, one class against the rest", fontsize=11)
        options = {"title": "area under curve", "fontsize": 8, "frameon": False}
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), **options)
        plain_axes(axes)
        add_figure(writer, "curves/roc", figure, step)


class Calibration(OutcomeInspector):
    """How often the network is right when it says it is so sure."""

    def inspect(self, writer: SummaryWriter, shown: Outcome, pl_module: ZooModule) -> None:
        """Draw accuracy and number of examples by confidence."""
        confidence, predicted = shown.scores.nan_to_num().max(dim=1)
        right = (predicted == shown.target).float()
        counts, sureness, accuracy = reliability(confidence, right)
        share = counts / counts.sum()
        error = float((share * (accuracy - sureness).abs()).nan_to_num().sum())
        figure = new_figure(6, 6.4, layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1, label="as it should be")
        filled = counts > 0
        axes.plot(sureness[filled], accuracy[filled], "o-", color="#1f77b4", label="measured")
        axes.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(frameon=False, loc="upper left")
        title = f"Calibration on the test split; expected calibration error {error:.3f}"
        axes.set_title(title, fontsize=11)
        below.bar(
            [(i + 0.5) / BINS for i in range(BINS)], counts.tolist(), 0.9 / BINS, color="#9ecae1"
        )
        below.set(xlabel="probability of the predicted class", ylabel="examples")
        for part in (axes, below):
            plain_axes(part)
        add_figure(writer, "curves/calibration", figure, shown.step)


class PredictedVersusTrue(OutcomeInspector):
    """For a regression: what was predicted against what was true, for up to four targets."""

    tasks = ("regression",)

    def inspect(self, writer: SummaryWriter, shown: Outcome, pl_module: ZooModule) -> None:
        """Draw a point for each test example, at most 2,000."""
        outputs = min(shown.scores.shape[1], 4)
        named = (pl_module.spec.preprocessing.get("target") or {}).get("names") or []
        figure = new_figure(5.2 * min(outputs, 2), 5.2 * -(-outputs // 2), layout="constrained")
        for i in range(outputs):
            axes = figure.add_subplot(-(-outputs // 2), min(outputs, 2), i + 1)
            true, predicted = shown.target[:, i], shown.scores[:, i]
            finite = true.isfinite() & predicted.isfinite()
            true, predicted = true[finite], predicted[finite]
            if not len(true):
                continue
            size = 8 if len(true) > 200 else 16
            some = slice(None, None, -(-len(true) // MOST_POINTS))
            axes.scatter(true[some], predicted[some], s=size, alpha=0.5, edgecolors="none")
            low, high = (
                float(min(true.min(), predicted.min())),
                float(max(true.max(), predicted.max())),
            )
            room = 0.04 * (high - low) or 1.0
            ends = (low - room, high + room)
            axes.plot(ends, ends, color=GREY, linestyle=":", linewidth=1)
            name = named[i] if i < len(named) else ("target" if outputs == 1 else f"target {i}")
            axes.set(xlim=ends, ylim=ends, xlabel=f"true {name}", ylabel=f"predicted {name}")
            error = float((true - predicted).abs().mean())
            axes.set_title(
                f"{shortened(name, 30)}: mean absolute error {error:.4g}, R² {r2(true, predicted)}",
                fontsize=10,
            )
            plain_axes(axes)
        add_figure(writer, "prediction/predicted_versus_true", figure, shown.step)


def roc(scores: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return false and true positive rates at every distinct threshold, from 0 to 1.

    Args:
        scores: (N,); larger for what is more likely true.
        truth: Booleans (N,), some true and some not.
    """
    order = scores.argsort(descending=True)
    scores, truth = scores[order], truth[order].double()
    # Equal scores are one threshold: a corner between them would be an order that is not there.
    last = torch.cat([scores[1:] != scores[:-1], torch.ones(1, dtype=torch.bool)])
    hits, misses = truth.cumsum(0)[last], (1 - truth).cumsum(0)[last]
    zero = torch.zeros(1, dtype=torch.double)
    return torch.cat([zero, misses / misses[-1]]), torch.cat([zero, hits / hits[-1]])


def reliability(confidence: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return count, mean confidence and accuracy in bins of confidence; NaN where one is empty."""
    index = (confidence * BINS).long().clamp(0, BINS - 1)
    counts, sureness, accuracy = torch.zeros(3, BINS).unbind()
    counts = counts.index_add(0, index, torch.ones_like(confidence))
    sureness = sureness.index_add(0, index, confidence) / counts
    accuracy = accuracy.index_add(0, index, right) / counts
    return counts, sureness, accuracy


def r2(true: Tensor, predicted: Tensor) -> str:
    """Return the coefficient of determination, formatted; `undefined` if all targets are equal."""
    spread = float(((true - true.mean()) ** 2).sum())
    return f"{1 - float(((true - predicted) ** 2).sum()) / spread:.3f}" if spread else "undefined"


def _classes(shown: Outcome) -> list[tuple[int, str]]:
    named = list(enumerate(shown.class_names))
    return named[1:] if shown.task == "binary" else named[:MOST_CLASSES]


def _tag(name: str) -> str:
    return name.replace("/", "_")
