"""A run in TensorBoard: one callback, and a panel for every picture.

A panel is a plain function `(writer, model, data, step)`; what `data` is depends on the moment at
which it is called. To add one, write the function here and its line in `registry.PANELS`.
"""

from typing import TYPE_CHECKING

from zoo.callbacks.tensorboard.registry import chosen_panels

if TYPE_CHECKING:
    from lightning.pytorch import Callback


def tensorboard_panels(spec: str = "basic") -> "list[Callback]":
    """Return the callback that writes a run into TensorBoard.

    Args:
        spec: A level, and after commas what to leave out of it: `full,-projector,-graph`.

    Returns:
        One callback, or none if there is nothing to write: Lightning spends about 3 microseconds
        for each callback at each of six hooks of every step.

    Raises:
        UserError: If the level or a name is unknown.
    """
    panels = chosen_panels(spec)
    if not panels:
        return []
    from zoo.callbacks.tensorboard.callback import TensorBoardPanels

    return [TensorBoardPanels(panels)]
