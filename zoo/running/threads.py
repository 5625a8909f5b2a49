"""How many threads a training computes by.

Every sum of a layer that is split among threads ends with waiting for the last of them, which the
others do in a loop. Where the layers are narrow nothing is gained by it, and where something else
wants a core everything is lost. One update, milliseconds, 2 cores, idle and with 8 other processes
that compute:

    network           MFLOP   1 thread   2 threads   1, loaded   2, loaded
    xor_mlp               0       0.22        0.22        0.24          12
    tabular_net          15       1.54        1.49        1.68         257
    mnist_classifier     16       0.65        0.67        0.70         540
    mnist_net            76       0.99        0.81        1.1          300
    mnist_rnn           215       3.6         3.8
    fashion_ffnn        257       3.0         2.4         7.6           50
    conv_net            901      12.6         7.6          40          900
    mnist_lstm         2269      20          14            65          660

So the work of an update decides, which is the same in every run. A probe by the clock is not: of
two runs of one command one would have other sums, and end with other weights.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch.utils.flop_counter import FlopCounterMode

from zoo.network import Network

# Floating-point operations of an update below which one thread computes it.
NARROW = 200e6
CHOICES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def default_threads() -> int:
    """Return how many threads torch takes if nobody says a number: one for each core it may use."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return min(cores, torch.get_num_interop_threads())


def flops_of_update(model: Network, batch_size: int) -> float:
    """Return the floating-point operations of an update: three times those of a forward pass."""
    example, mode = model.example_input_array, model.training
    model.eval()
    with (
        torch.random.fork_rng(devices=[]),
        torch.no_grad(),
        warnings.catch_warnings(action="ignore"),  # torch's, of a setting that is none of ours
        torch.backends.mkldnn.flags(enabled=False),  # its LSTM is one operation, of no known size
        FlopCounterMode(display=False) as counter,
    ):
        logits = model.logits(example)
    model.train(mode)
    return 3 * counter.get_total_flops() * batch_size / len(logits)


@contextmanager
def training_threads(
    trainer: Trainer, model: Network, data: LightningDataModule, recorded: int | None = None
) -> Iterator[None]:
    """Compute by as many threads as pay for a training, and by those of before afterwards.

    A number in the environment, or one that torch was given, is the user's and stays. So does
    torch's own where there are several processes, a GPU, or data whose batches are not known.

    Args:
        trainer: The training's.
        model: What it trains.
        data: What with.
        recorded: The number of the run that it goes on with: sums are rounded as they were there.
    """
    before = torch.get_num_threads()
    chosen = any(name in os.environ for name in CHOICES) or before != default_threads()
    alone = trainer.world_size == 1 and trainer.strategy.root_device.type == "cpu"
    batch_size: Any = getattr(data, "batch_size", None)
    count = before
    if not chosen and alone and before > 1:
        if recorded:
            count = max(1, min(recorded, before))
        elif isinstance(batch_size, int) and flops_of_update(model, batch_size) < NARROW:
            count = 1
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
