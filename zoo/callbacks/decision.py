"""Where in the plane a network of two inputs decides what, over time."""

from typing import TYPE_CHECKING

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from zoo.callbacks.board import CHUNK, as_batch, board, evaluating, is_due, on_cpu, spared
from zoo.callbacks.figures import add_figure, new_figure, shortened
from zoo.module import ZooModule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TIMES = 10  # TensorBoard keeps ten images of a tag
SIDE = 100
MOST_POINTS = 500


class DecisionSurface(Callback):
    """Draws what the network gives for every point of the plane that its training inputs span."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Draw it, ten times in a run, if the network reads two numbers."""
        writer = board(trainer)
        splits = getattr(trainer.datamodule, "splits", {})
        if (
            writer is None
            or not is_plane(pl_module)
            or "train" not in splits
            or not is_due(trainer, TIMES)
        ):
            return
        with spared("the decision surface"):
            x, target = splits["train"]
            title = f"epoch {trainer.current_epoch + 1}"
            figure = surface_figure(pl_module, x[:MOST_POINTS], target[:MOST_POINTS], title)
            add_figure(writer, "decision/surface", figure, trainer.global_step)


def is_plane(pl_module: ZooModule) -> bool:
    """Tell whether an example is two numbers that can be varied continuously."""
    preprocessing = pl_module.spec.preprocessing
    return (
        list(pl_module.spec.input_shape) == [2]
        and preprocessing["kind"] != "tokens"
        and not preprocessing.get("categorical")
    )


def grid(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values along both axes (2, 100) that leave some room around points (N, 2)."""
    low = torch.stack([column[~column.isnan()].min() for column in x.T])
    high = torch.stack([column[~column.isnan()].max() for column in x.T])
    room = 0.25 * (high - low)
    room[room == 0] = 0.5
    steps = torch.linspace(0, 1, SIDE)
    axes = (low - room)[:, None] + steps * (high - low + 2 * room)[:, None]
    return axes[0], axes[1]


def surface_figure(model: ZooModule, x: Tensor, target: Tensor, title: str) -> "Figure":
    """Draw the probability of the second class (binary), the class, or the value over the plane."""
    x = on_cpu(x).float()
    across, up = grid(x)
    points = torch.stack(torch.meshgrid(across, up, indexing="xy"), dim=-1).reshape(-1, 2)
    with evaluating(model):
        given = torch.cat([model(as_batch(model, part)) for part in points.split(CHUNK)])
    given = given.float().cpu()
    task, names = model.spec.task, list(model.class_names)
    figure = new_figure(6.4, 5.4, layout="constrained")
    axes = figure.add_subplot()
    extent = (float(across[0]), float(across[-1]), float(up[0]), float(up[-1]))
    options = {"origin": "lower", "extent": extent, "aspect": "auto"}
    if task == "binary":
        values = given.sigmoid().reshape(SIDE, SIDE).numpy()
        image = axes.imshow(values, cmap="RdBu_r", vmin=0, vmax=1, **options)
        if values.min() < 0.5 < values.max():
            axes.contour(across, up, values, levels=[0.5], colors="black", linewidths=1)
        figure.colorbar(image, ax=axes, label=f"probability of {shortened(names[1])}")
    elif task == "multiclass":
        values = given.argmax(dim=1).reshape(SIDE, SIDE).numpy()
        colours = "tab10" if len(names) <= 10 else "tab20"
        top = 9.5 if len(names) <= 10 else 19.5
        axes.imshow(values, cmap=colours, vmin=-0.5, vmax=top, alpha=0.45, **options)
    else:
        values = given[:, 0].reshape(SIDE, SIDE).numpy()
        image = axes.imshow(values, cmap="viridis", **options)
        figure.colorbar(image, ax=axes, label="value")
    target = on_cpu(target).reshape(len(target), -1)[:, 0]
    if task == "regression":
        limits = {"vmin": float(values.min()), "vmax": float(values.max())}
        axes.scatter(x[:, 0], x[:, 1], c=target, cmap="viridis", edgecolors="white", **limits)
    else:
        from matplotlib import colormaps

        for index, name in enumerate(names):
            some = x[target == index]
            if not len(some):
                continue
            colour = (
                ("#2166ac", "#b2182b")[index] if task == "binary" else colormaps[colours](index)
            )
            axes.scatter(
                some[:, 0], some[:, 1], s=60, color=[colour], edgecolors="white", label=name
            )
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=5, frameon=False)
    columns = [c["name"] for c in model.spec.preprocessing.get("columns", [])]
    labels = columns if len(columns) == 2 else ["input 0", "input 1"]
    axes.set(xlabel=labels[0], ylabel=labels[1], xlim=extent[:2], ylim=extent[2:])
    axes.set_title(f"Decision surface, {title}", fontsize=11)
    return figure
