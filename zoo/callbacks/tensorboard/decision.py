"""Where in the plane a network of two inputs decides what, over time."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from zoo.callbacks.tensorboard.data import CHUNK, Epoch, as_batch, on_cpu
from zoo.callbacks.tensorboard.figures import class_colors, new_figure, shortened
from zoo.module import ZooModule

SIDE = 100
MOST_POINTS = 500


def draw_surface(writer: SummaryWriter, model: ZooModule, epoch: Epoch, step: int) -> None:
    """Draw what the network gives for every point of the plane that its training inputs span."""
    preprocessing = model.spec.preprocessing
    is_plane = list(model.spec.input_shape) == [2] and preprocessing["kind"] != "tokens"
    if is_plane and not preprocessing.get("categorical") and "train" in epoch.splits:
        x, target = (part[:MOST_POINTS] for part in epoch.splits["train"])
        figure = surface_figure(model, x, target, f"epoch {epoch.number}")
        writer.add_figure("decision/surface", figure, step, close=False)


def grid(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values along both axes (2, 100) that leave a margin around points (N, 2)."""
    low = torch.stack([column[~column.isnan()].min() for column in x.T])
    high = torch.stack([column[~column.isnan()].max() for column in x.T])
    margin = 0.25 * (high - low)
    margin[margin == 0] = 0.5
    steps = torch.linspace(0, 1, SIDE)
    axes = (low - margin)[:, None] + steps * (high - low + 2 * margin)[:, None]
    return axes[0], axes[1]


def surface_figure(model: ZooModule, x: Tensor, target: Tensor, title: str) -> Figure:
    """Draw the probability of the second class (binary), the class, or the value over the plane."""
    x, target = on_cpu(x).float(), on_cpu(target).reshape(len(target), -1)[:, 0]
    across, up = grid(x)
    points = torch.cartesian_prod(up, across).flip(1)  # row by row
    given = on_cpu(torch.cat([model(as_batch(model, part)) for part in points.split(CHUNK)]))
    task, names = model.spec.task, [shortened(name) for name in model.class_names]
    figure = new_figure(6.4, 5.4)
    axes = figure.add_subplot()
    extent = (float(across[0]), float(across[-1]), float(up[0]), float(up[-1]))
    options: dict[str, Any] = {"origin": "lower", "extent": extent, "aspect": "auto"}
    colors: Sequence[ColorType] = ()
    if task == "multiclass":
        colors = class_colors(len(names))
        values, label = given.argmax(dim=1), None
        options |= {"cmap": ListedColormap(colors), "alpha": 0.45}
        options |= {"vmin": -0.5, "vmax": len(names) - 0.5, "interpolation": "nearest"}
    elif task == "binary":
        colors = ["#2166ac", "#b2182b"]
        values, label = given.sigmoid(), f"probability of {names[1]}"
        options |= {"cmap": "RdBu_r", "vmin": 0, "vmax": 1}
    else:
        values, label = given[:, 0], "value"
    surface = values.reshape(SIDE, SIDE).numpy()
    image = axes.imshow(surface, **options)
    if label:
        figure.colorbar(image, ax=axes, label=label)
    if task == "binary" and surface.min() < 0.5 < surface.max():
        axes.contour(across, up, surface, levels=[0.5], colors="black", linewidths=1)
    if task == "regression":
        low, high = image.get_clim()
        axes.scatter(x[:, 0], x[:, 1], c=target, vmin=low, vmax=high, edgecolors="white")
    else:
        for index, (name, color) in enumerate(zip(names, colors, strict=True)):
            some = x[target == index].T
            if some.numel():
                axes.scatter(some[0], some[1], s=60, color=[color], edgecolors="white", label=name)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=5, frameon=False)
    columns = [c["name"] for c in model.spec.preprocessing.get("columns", [])]
    labels = columns if len(columns) == 2 else ["input 0", "input 1"]
    axes.set(xlabel=shortened(labels[0]), ylabel=shortened(labels[1]))
    axes.set(xlim=extent[:2], ylim=extent[2:])
    axes.set_title(f"Decision surface, {title}", fontsize=11)
    return figure
