"""`--trainer.precision auto`: bfloat16 where it pays on this machine, and gives the same loss."""

import copy
import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng

from datamodules import TensorDataModule
from zoo.module import ZooModule

OPTION, AUTO, FULL, MIXED = "--trainer.precision", "auto", "32-true", "bf16-mixed"
# What torch.cpu.get_capabilities calls bfloat16, on x86 and on ARM.
CPU_FEATURES = ("avx512_bf16", "amx_bf16", "bf16")
# A processor that has bfloat16 need not be fast at it: an update of fashion_ffnn takes 0.63 times
# as long on an AMD EPYC and 1.6 times as long on an Intel Xeon without AMX, both with AVX512-BF16.
# So it is timed, and one near 1 is not worth the rounding.
WORTHWHILE = 0.9
# bfloat16 has 8 bits: rounded by 0.4 %, a batch's loss is much nearer than this.
TOLERANCE = 0.02
TIMED = 4


def take_auto(argv: Sequence[str]) -> tuple[list[str], bool]:
    """Replace `auto` on a command line, which Lightning does not know.

    Returns:
        The command line with full precision in its place, and whether `auto` is the last word.
    """
    found, auto = list(argv), False
    for i, word in enumerate(argv):
        option, equals, value = word.partition("=")
        if option == OPTION:
            place = i if equals else i + 1
            auto = (value if equals else "".join(argv[place : place + 1])) == AUTO
            if auto:
                found[place] = f"{OPTION}={FULL}" if equals else FULL
    return found, auto


def choose_precision(
    model: ZooModule, data: Any, device: torch.device, processes: int = 1
) -> tuple[str, str]:
    """Choose between full precision and bfloat16 for a training.

    Nothing changes: neither the network nor the random numbers nor the order of the data.

    Args:
        model: What is to be trained; a copy is tried.
        data: What with.
        device: Where.
        processes: How many train; each would choose for itself.

    Returns:
        Lightning's name of the precision, and the reason.
    """
    if processes > 1:
        return FULL, "one of several processes cannot choose"
    if not _has_bfloat16(device):
        return FULL, f"this {device.type} has no bfloat16"
    if not isinstance(data, TensorDataModule):
        return FULL, "the data are not at hand to try it"
    with isolate_rng():
        x, target = data.transfer_batch_to_device(next(iter(data.train_dataloader())), device, 0)
        tried = copy.deepcopy(model).to(device).train()
        seconds: dict[bool, list[float]] = {False: [], True: []}
        losses: dict[bool, float] = {}
        for _ in range(TIMED + 1):  # in turn; the first is not counted
            for mixed, taken in seconds.items():
                torch.manual_seed(0)
                started = _clock(device)
                with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                    loss = tried.loss(tried.logits(x), target)
                loss.backward()
                taken.append(_clock(device) - started)
                losses.setdefault(mixed, loss.item())
    full, rounded = losses[False], losses[True]
    if not math.isclose(full, rounded, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        return FULL, f"the first batch's loss is {full:.4g}, {rounded:.4g} in {MIXED}"
    ratio = min(seconds[True][1:]) / min(seconds[False][1:])
    return MIXED if ratio < WORTHWHILE else FULL, f"{MIXED} takes {ratio:.2f} times as long"


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # of an older torch
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(feature) for feature in CPU_FEATURES)


def _clock(device: torch.device) -> float:
    """Return seconds: of this thread on a CPU, where others' work is none of ours."""
    if device.type == "cpu":
        return time.thread_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
