"""What the network gets to see and what it gets wrong; the weights that look at it first."""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from zoo.callbacks.board import (
    Outcome,
    OutcomeInspector,
    board,
    evaluating,
    image_shape,
    is_image,
    on_cpu,
    spared,
)
from zoo.callbacks.figures import (
    DPI,
    add_figure,
    mosaic,
    near_square,
    new_figure,
    shortened,
    show_picture,
)
from zoo.module import ZooModule

GALLERY = 16
BATCH = 25
CELL = 112  # pixels: four times an image of 28
FILTERS = 36


class WrongGallery(OutcomeInspector):
    """The test images that the network got most confidently wrong, with both class names."""

    def inspect(self, writer: SummaryWriter, shown: Outcome, pl_module: ZooModule) -> None:
        """Write the gallery; nothing if the examples are no images or all are right."""
        shape = image_shape(pl_module)
        if shown.x is None or shape is None:
            return
        wrong = (shown.predicted != shown.target).nonzero().flatten()
        if not len(wrong):
            return
        confidence = shown.scores[wrong].amax(dim=1)
        best = confidence.argsort(descending=True)[:GALLERY]
        captions = [
            f"said {_name(shown, said)} ({float(sure):.0%})\nis {_name(shown, true)}"
            for said, true, sure in zip(
                shown.predicted[wrong[best]],
                shown.target[wrong[best]],
                confidence[best],
                strict=True,
            )
        ]
        title = f"Most confidently wrong of {len(wrong):,} wrong test images"
        images = shown.x[wrong[best]].reshape(-1, *shape)
        add_captioned(writer, "gallery/most_confidently_wrong", images, captions, title, shown.step)


class TrainingBatch(Callback):
    """The first training batch as the network sees it: augmented, and scaled by its own module."""

    def __init__(self) -> None:
        self._is_shown = False

    def on_fit_start(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Begin anew."""
        self._is_shown = False

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: ZooModule, batch: Any, batch_idx: int
    ) -> None:
        """Write the batch, once."""
        if self._is_shown:
            return
        self._is_shown = True
        writer = board(trainer)
        shape = image_shape(pl_module)
        if writer is None or shape is None:
            return
        with spared("the training batch"), evaluating(pl_module):
            images = on_cpu(pl_module.preprocess(batch[0][:BATCH])).reshape(-1, *shape)
            names = pl_module.class_names
            target = batch[1][:BATCH]
            if pl_module.spec.task == "regression":
                captions = [f"{float(values.flatten()[0]):.4g}" for values in target]
            else:
                captions = [shortened(names[int(c)], 13) for c in target]
            title = f"Training batch as the network sees it: {_range(images)}"
            add_captioned(writer, "batch/train", images, captions, title, trainer.global_step)


class FirstLayerWeights(Callback):
    """The weights of the first layer, before and after training.

    Filters that look at an image are drawn as images, any other layer as one matrix.
    """

    def on_train_start(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Draw the weights before training."""
        self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Draw the trained weights."""
        self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, pl_module: ZooModule) -> None:
        writer = board(trainer)
        found = first_weight(pl_module)
        if writer is None or found is None:
            return
        name, weight = found
        with spared("the first layer's weights"):
            figure = weights_figure(on_cpu(weight), pl_module.feature_shape, name)
            add_figure(writer, "weights/first_layer", figure, trainer.global_step)


def first_weight(model: ZooModule) -> tuple[str, Tensor] | None:
    """Return name and values of the first matrix after the preprocessing and its embeddings."""
    matrices = ((name, p) for name, p in model.named_parameters() if p.ndim > 1)
    return next((m for m in matrices if not m[0].startswith("preprocess.")), None)


def weights_figure(weight: Tensor, feature_shape: tuple[int, ...], name: str) -> Any:
    """Draw a weight (out, ...) as pictures if its inputs are pixels, else as a matrix."""
    rows = weight.flatten(1)
    limit = float(rows.abs().quantile(0.995)) if rows.numel() < 2**24 else float(rows.abs().max())
    options = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    figure = new_figure(6.4, 5.4, layout="constrained")
    axes = figure.add_subplot()
    if is_image(feature_shape) and rows.shape[1] == torch.Size(feature_shape).numel():
        filters = weight.reshape(-1, *feature_shape)
    else:
        filters = weight if weight.ndim == 4 else None
    if filters is None:
        image = axes.imshow(rows.numpy(), aspect="auto", interpolation="nearest", **options)
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("input")
        axes.set_ylabel("unit")
        shown = f"{len(rows)} units, {rows.shape[1]} inputs"
    else:
        # Colours stand for signs, so of a colour image's channels the mean is drawn.
        grid = mosaic(filters[:FILTERS].mean(dim=1, keepdim=True), fill=float("nan"))[0]
        image = axes.imshow(grid.numpy(), interpolation="nearest", **options)
        axes.set_axis_off()
        shown = f"{min(FILTERS, len(filters))} of {len(filters)} filters"
    axes.set_title(f"{name}: {shown}", fontsize=11)
    figure.colorbar(image, ax=axes, shrink=0.7, label="weight")
    return figure


def add_captioned(
    writer: SummaryWriter, tag: str, images: Tensor, captions: list[str], title: str, step: int
) -> None:
    """Write images (N, C, H, W) of any range as a grid, a caption above each.

    All of them are one picture in one pair of axes: a pair for each takes four times as long.
    """
    count, channels, height, width = images.shape
    columns = max(near_square(count)[1], 4)  # or the title would be wider than the figure
    rows = -(-count // columns)
    scale = max(1, CELL // max(height, width))
    height, width = height * scale, width * scale
    lines = 1 + max(caption.count("\n") for caption in captions)
    above, beside, top = 16 * lines + 8, max(CELL + 44 - width, 16), 30
    low, high = images.amin(), images.amax()
    images = (images.float() - low) / (high - low).clamp(min=1e-12)
    images = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    whole = (top + rows * (height + above) + 6, columns * (width + beside))
    canvas = torch.ones(channels, *whole)
    figure = new_figure(whole[1] / DPI, whole[0] / DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        y = top + i // columns * (height + above) + above
        x = i % columns * (width + beside) + beside // 2
        canvas[:, y : y + height, x : x + width] = image
        place = {"ha": "center", "va": "bottom", "linespacing": 1.0, "fontsize": 9}
        axes.text(x + width / 2, y - 4, caption, **place)
    show_picture(axes, canvas, vmin=0, vmax=1)
    axes.text(whole[1] / 2, 8, title, ha="center", va="top", fontsize=11)
    add_figure(writer, tag, figure, step)


def _name(shown: Outcome, index: Tensor) -> str:
    return shortened(shown.class_names[int(index)], 12)


def _range(images: Tensor) -> str:
    return f"values from {float(images.min()):.2g} to {float(images.max()):.2g}"
