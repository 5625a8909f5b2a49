"""Pictures without pyplot: its global state would keep figures alive and choose a window system.

matplotlib is imported when the first picture is drawn.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
GREY = "#5f6368"


def new_figure(width: float, height: float, **options: Any) -> "Figure":
    """Return an empty figure.

    Args:
        width: In inches of 100 pixels.
        height: In inches of 100 pixels.
        options: Further arguments of the figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, **options)
    FigureCanvasAgg(figure)
    return figure


def pixels(figure: "Figure") -> np.ndarray:
    """Return a figure as an image (H, W, 3) of bytes."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def add_figure(writer: SummaryWriter, tag: str, figure: "Figure", step: int) -> None:
    """Write a figure into the run."""
    writer.add_image(tag, pixels(figure), step, dataformats="HWC")


def plain_axes(axes: "Axes") -> None:
    """Leave of the frame what is read: the two axes."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def show_picture(axes: "Axes", picture: Tensor, **options: Any) -> None:
    """Draw an image (C, H, W) without axes; one channel in grey unless another map is given."""
    picture = picture.permute(1, 2, 0) if len(picture) == 3 else picture[0]
    axes.imshow(picture.numpy(), **{"cmap": "gray", "interpolation": "nearest", **options})
    axes.set_axis_off()


def near_square(count: int) -> tuple[int, int]:
    """Return rows and columns of a grid for so many pictures, wider than high."""
    columns = math.ceil(math.sqrt(count))
    return math.ceil(count / columns), columns


def mosaic(pictures: Tensor, fill: float) -> Tensor:
    """Lay pictures (N, C, H, W) into a grid (C, H', W') with a gap of one pixel."""
    count, channels, height, width = pictures.shape
    rows, columns = near_square(count)
    grid = pictures.new_full((channels, rows * (height + 1) - 1, columns * (width + 1) - 1), fill)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        grid[:, top : top + height, left : left + width] = picture
    return grid


def shortened(name: str, length: int = 18) -> str:
    """Return a name that fits beside an axis."""
    return name if len(name) <= length else f"{name[: length - 1]}…"
