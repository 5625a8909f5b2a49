"""The graph of the network."""

import io
import logging
import warnings
from contextlib import redirect_stdout

from lightning.pytorch import Trainer
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard._pytorch_graph import graph

from zoo.callbacks.tensorboard.data import as_batch
from zoo.module import ZooModule


def write_graph(writer: SummaryWriter, model: ZooModule, trainer: Trainer, step: int) -> None:
    """Write the network's graph, traced on its `example_input_array`.

    `SummaryWriter.add_graph` would do, but for the one closed box that all nodes are in then: the
    page is to open on the layers.
    """
    x = as_batch(model, model.example_input_array)
    logger = logging.getLogger("torch")
    level = logger.level
    # Tracing says what it fixes, such as the batch size: nothing that a drawing minds. A failure
    # is printed, besides being raised.
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            redirect_stdout(io.StringIO()),
            trainer.precision_plugin.forward_context(),
        ):
            drawn = graph(model, (x,))
    finally:
        logger.setLevel(level)
    box = f"{type(model).__name__}/"
    for node in drawn[0].node:
        node.name = node.name.removeprefix(box)
        node.input[:] = [name.removeprefix(box) for name in node.input]
    writer.file_writer.add_graph(drawn)  # type: ignore[attr-defined]
