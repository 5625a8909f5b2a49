"""Pictures without pyplot: its global state would keep figures alive and choose a window system."""

import math
from functools import cache

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from torch import Tensor
from torch.nn.functional import pad
from torchvision.utils import make_grid

DPI = 100
GREY = "#5f6368"
CELL = 112  # pixels: four times an image of 28


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Figure:
    """Return an empty figure, its sides in inches of 100 pixels."""
    return Figure(figsize=(width, height), dpi=DPI, layout=layout)  # type: ignore[arg-type]


def plain_axes(axes: Axes) -> None:
    """Leave of the frame what is read: the two axes."""
    axes.spines[["top", "right"]].set_visible(False)


def class_colors(count: int) -> list[tuple[float, float, float]]:
    """Return a color (red, green, blue) for each class; they repeat after twenty."""
    colors = colormaps["tab10" if count <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    return [tuple(colors[i % len(colors)]) for i in range(count)]


def columns_of(count: int) -> int:
    """Return how many columns make a grid of so many pictures about square."""
    return math.ceil(math.sqrt(count))


def shortened(name: str, length: int = 18) -> str:
    """Return a name that fits beside an axis, in which no dollar begins a formula."""
    return (name if len(name) <= length else f"{name[: length - 1]}…").replace("$", r"\$")


def captioned_figure(images: Tensor, captions: list[str], title: str) -> Figure:
    """Draw images (N, C, H, W) of any range as a grid, a caption above each.

    All of them are one picture in one pair of axes: a pair for each takes four times as long.
    """
    columns = columns_of(len(images))
    scale = max(1, CELL // max(images.shape[2:]))
    low, high = images.amin(), images.amax()
    images = (images.float() - low) / (high - low).clamp(min=1e-12)
    images = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    width = images.shape[3]
    lines = [line for caption in captions for line in caption.split("\n")]
    above = 8 + 16 * max(caption.count("\n") + 1 for caption in captions)
    needed = max(*(text_width(line, 9) for line in lines), width, text_width(title, 11) / columns)
    beside, top = math.ceil(needed + 16 - width) // 2, 30
    cells = pad(images, (beside, beside, above, 6), value=1.0)
    grid = pad(make_grid(cells, nrow=columns, padding=0), (0, 0, top, 0), value=1.0)
    figure = new_figure(grid.shape[2] / DPI, grid.shape[1] / DPI, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(grid.permute(1, 2, 0).numpy(), interpolation="nearest")
    for i, caption in enumerate(captions):
        x = (i % columns + 0.5) * cells.shape[3]
        y = top + i // columns * cells.shape[2] + above - 4
        axes.text(x, y, caption, ha="center", va="bottom", linespacing=1.0, fontsize=9)
    axes.text(grid.shape[2] / 2, 8, title, ha="center", va="top", fontsize=11)
    return figure


def text_width(text: str, size: float) -> float:
    """Return how many pixels wide a line of text in points of `size` is."""
    return _renderer().get_text_width_height_descent(text, FontProperties(size=size), False)[0]


@cache
def _renderer() -> RendererAgg:
    return FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()
