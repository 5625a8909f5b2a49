"""Which columns of a table a network goes by."""

from typing import TYPE_CHECKING

from torch.utils.tensorboard import SummaryWriter

from zoo.callbacks.tensorboard.figures import new_figure, plain_axes, shortened
from zoo.importance import what_it_is
from zoo.module import ZooModule

if TYPE_CHECKING:
    from zoo.cards import Card

MOST_COLUMNS = 30


def draw_importance(writer: SummaryWriter, model: ZooModule, card: "Card", step: int) -> None:
    """Draw the importance of up to 30 columns, of a network of tables."""
    found = list(card.importance.items())[:MOST_COLUMNS]
    if not found:
        return
    figure = new_figure(7, 1.4 + 0.28 * len(found))
    axes = figure.add_subplot()
    axes.barh([shortened(name, 30) for name, _ in found], [value for _, value in found])
    axes.invert_yaxis()
    axes.set_xlabel(what_it_is(model.spec.task), fontsize=9)
    more = len(card.importance) - len(found)
    axes.set_title("Importance of columns" + (f"; {more} more" if more else ""), fontsize=10)
    plain_axes(axes)
    writer.add_figure("importance/columns", figure, step, close=False)
