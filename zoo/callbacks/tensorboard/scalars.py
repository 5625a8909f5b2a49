"""Learning rate, gradient norm, speed; and a page with what belongs together in one chart."""

from lightning.pytorch import Trainer
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from zoo.callbacks.tensorboard.data import Epoch
from zoo.module import ZooModule


def write_layout(writer: SummaryWriter, model: ZooModule, trainer: Trainer, step: int) -> None:
    """Lay out the page of custom scalars: loss and every metric with all splits in one chart."""
    names = ["loss", *model.task.metrics(model.spec.num_outputs)]
    tags = {
        "learning rate": "optimization/learning_rate.*",
        "gradient norm": "optimization/gradient_norm",
        "examples per second": "speed/examples_per_second",
    }
    splits = ("train", "val", "test")
    layout = {
        "Loss and metrics": {n: ["Multiline", [f"{n}/{s}" for s in splits]] for n in names},
        "Optimization": {title: ["Multiline", [tag]] for title, tag in tags.items()},
    }
    writer.add_custom_scalars(layout)


def write_optimization(
    writer: SummaryWriter, model: ZooModule, optimizer: Optimizer, step: int
) -> None:
    """Write the learning rate, and the norm of all gradients as one vector."""
    groups = optimizer.param_groups
    for i, group in enumerate(groups):
        suffix = f"/group_{i}" if len(groups) > 1 else ""
        writer.add_scalar(f"optimization/learning_rate{suffix}", float(group["lr"]), step)
    gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
    if gradients:
        writer.add_scalar("optimization/gradient_norm", float(get_total_norm(gradients)), step)


def write_speed(writer: SummaryWriter, model: ZooModule, epoch: Epoch, step: int) -> None:
    """Write the speed of the epoch, on all processes together."""
    writer.add_scalar("speed/examples_per_second", epoch.examples_per_second, step)
