"""The graph of the network."""

import io
import logging
import warnings
from contextlib import redirect_stdout
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch.utils.tensorboard._pytorch_graph import graph

from zoo.callbacks.board import as_batch, board, evaluating, spared
from zoo.module import ZooModule


class NetworkGraph(Callback):
    """Writes the network's graph, traced on its `example_input_array`, before training begins."""

    def on_fit_start(self, trainer: Trainer, pl_module: ZooModule) -> None:
        """Trace the network; that leaves weights, modes and random numbers as they were."""
        writer = board(trainer)
        if writer is None:
            return
        with (
            spared("the graph of the network"),
            warnings.catch_warnings(),
            torch.random.fork_rng(devices=[]),
            evaluating(pl_module),
        ):
            # Tracing says what it fixes, such as the batch size: nothing that a drawing minds.
            warnings.simplefilter("ignore")
            logger = logging.getLogger("torch")
            level = logger.level
            logger.setLevel(logging.ERROR)
            try:
                x = as_batch(pl_module, pl_module.example_input_array)
                # On a failure torch prints it, besides raising it.
                with trainer.precision_plugin.forward_context(), redirect_stdout(io.StringIO()):
                    drawn = graph(pl_module, (x,))
            finally:
                logger.setLevel(level)
            unpack(drawn[0], type(pl_module).__name__)
            writer._get_file_writer().add_graph(drawn)


def unpack(graph_def: Any, box: str) -> None:
    """Take the nodes of a graph out of their outermost box, so that the page opens on layers."""
    for node in graph_def.node:
        node.name = node.name.removeprefix(f"{box}/")
        inputs = [name.removeprefix(f"{box}/") for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
