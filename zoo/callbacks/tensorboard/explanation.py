"""Where the network looked: what its answers on test examples rest on."""

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.transforms.functional import pil_to_tensor

from zoo.callbacks.tensorboard.data import TestPredictions, image_shape
from zoo.callbacks.tensorboard.figures import (
    captioned_figure,
    new_figure,
    shortened,
    text_width,
)
from zoo.explanation import explain, overlaid
from zoo.module import ZooModule

# Half of them wrong, as far as there are such. Each costs 200 pictures or a sentence's words.
SHOWN = 9
LINE, MARGIN, WIDTH = 22, 12, 900  # pixels
TAG = "where_it_looked/test"  # TensorBoard sorts by tags: it comes last


def draw_reasons(
    writer: SummaryWriter, model: ZooModule, tested: TestPredictions, step: int
) -> None:
    """Draw test images with what the answers rest on in red, or sentences with it in color."""
    is_text = model.spec.kind == "tokens"
    if tested.x is None or not (is_text or image_shape(model)):
        return
    chosen = _chosen(tested)
    if not chosen:
        return
    x = tested.x[chosen]
    support = explain(model, x, tested.predicted[chosen])
    names = [shortened(name, 12) for name in model.class_names]
    captions = [
        f"said {names[int(tested.predicted[i])]} ({float(tested.scores[i].max()):.0%})\n"
        f"is {names[int(tested.target[i])]}"
        for i in chosen
    ]
    title = "What the answers rest on: wrong ones first"
    if is_text:
        known = model.spec.preprocessing["vocabulary"]
        sentences = [[known[i] for i in ids.tolist() if i] for ids in x]
        figure = _colored_words(sentences, support, captions, title)
    else:
        drawn = [pil_to_tensor(overlaid(*pair, side=168)) for pair in zip(x, support, strict=True)]
        figure = captioned_figure(torch.stack(drawn), captions, title)
    writer.add_figure(TAG, figure, step, close=False)


def _chosen(tested: TestPredictions) -> list[int]:
    """Return the most confidently wrong examples, then right ones, evenly spread."""
    right = tested.predicted == tested.target
    wrong = (~right).nonzero().flatten()
    wrong = wrong[tested.scores[wrong].amax(dim=1).argsort(descending=True)][: SHOWN // 2]
    rest = right.nonzero().flatten()
    count = min(SHOWN - len(wrong), len(rest))
    spread = rest[torch.arange(count) * len(rest) // max(count, 1)]
    return [*wrong.tolist(), *spread.tolist()]


def _colored_words(
    sentences: list[list[str]], support: Tensor, captions: list[str], title: str
) -> Figure:
    """Write sentences under their captions: red speaks for the answer, blue against it."""
    strongest = float(support.abs().max()) or 1.0
    placed: list[tuple[float, float, str, float]] = []
    y = 2.0 * LINE
    rows = []
    for words, values, caption in zip(sentences, support.tolist(), captions, strict=True):
        rows.append((y, caption.replace("\n", ", ")))
        x, y = float(MARGIN), y + LINE
        for word, value in zip(words, values, strict=False):
            width = text_width(word.replace("$", r"\$"), 10) + 8
            if x + width > WIDTH - MARGIN and x > MARGIN:
                x, y = MARGIN, y + LINE
            placed.append((x, y, word, value / strongest))
            x += width
        y += 1.5 * LINE
    figure = new_figure(WIDTH / 100, y / 100, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(y, 0))
    axes.set_axis_off()
    axes.text(WIDTH / 2, 8, f"{title}; red for, blue against", ha="center", va="top", fontsize=11)
    for top, caption in rows:
        axes.text(MARGIN, top, caption, va="center", fontsize=9, color="#5f6368")
    for left, top, word, share in placed:
        color = (1.0, 0.2, 0.2, abs(share)) if share > 0 else (0.2, 0.4, 1.0, abs(share))
        box = {"facecolor": color, "edgecolor": "none", "pad": 2}
        axes.text(left, top, word.replace("$", r"\$"), va="center", fontsize=10, bbox=box)
    return figure
