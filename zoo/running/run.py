"""What a training leaves behind."""

from dataclasses import dataclass, field
from pathlib import Path

from lightning.pytorch import LightningDataModule

from zoo.cards import Card
from zoo.console import by_split, duration, metrics_table
from zoo.errors import counted
from zoo.fitted.calibration import sentence
from zoo.fitted.decisions import sentence as decision_sentence
from zoo.importance import SHOWN, what_it_is
from zoo.module import ZooModule
from zoo.run_folder import WEIGHTS


@dataclass
class Run:
    """What a training leaves behind.

    Attributes:
        model: The network with the weights that the run ends with, in evaluation mode.
        metrics: By `metric/split`, of these weights.
        folder: The run directory; None after a trial run (`fast_dev_run`).
        card: What was written beside the weights.
        datamodule: The data.
        epochs: Epochs trained.
        seconds: How long that took.
        checkpoint: The checkpoint with these weights.
        kept: Which epoch's weights these are, and why.
        train_examples: On how many training examples the metrics of `train` were measured.
        logs: The folder that TensorBoard shows; empty if nothing was written for it.
    """

    model: ZooModule
    datamodule: LightningDataModule
    folder: Path | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    card: Card | None = None
    epochs: int = 0
    seconds: float = 0.0
    checkpoint: Path | None = None
    kept: str = ""
    train_examples: int = 0
    logs: str = ""

    def __str__(self) -> str:
        """The table of metrics, and where everything is."""
        if self.folder is None:
            return "A trial run (fast_dev_run) leaves nothing behind."
        titles = {"train": "train", "val": "validation", "test": "test"}
        nested = by_split(self.metrics)
        total = (self.card.split_sizes if self.card else {}).get("train", 0)
        if self.train_examples < total:
            titles["train"] = f"train, {self.train_examples:,} of {total:,}"
        shown = {titles[s]: nested[s] for s in titles if s in nested}
        if getattr(self.datamodule, "origin", "real") == "synthetic":
            shown = {f"{split} (synthetic)": values for split, values in shown.items()}
        table = metrics_table(shown, getattr(self.datamodule, "first_metrics", ()))
        epochs = counted(self.epochs, "epoch")
        calibration = self.card.calibration if self.card else {}
        split = "test" if "test" in calibration else "val"
        places = {
            "calibration": calibration
            and f"{sentence(calibration['temperature'], calibration[split])} ({split})",
            "decision": self._decision(),
            "importance": self._importance(),
            "weights of": self.kept,
            "time": f"{duration(self.seconds)}, {epochs}",
            "checkpoint": self.checkpoint,
            "weights": self.folder / WEIGHTS,
            "tensorboard": self.logs and f"tensorboard --logdir {self.logs}",
        }
        lines = [f"{title:12} {place}" for title, place in places.items() if place]
        return "\n".join([table, "", *lines])

    def _decision(self) -> str:
        """Say from which probability on a class is taken, or how wide an interval is."""
        found = self.card.decision if self.card else {}
        if not found:
            return ""
        names = self.model.class_names
        return decision_sentence(found, "test" if "test" in found else "val", (names or [""])[-1])

    def _importance(self) -> str:
        """Name the columns that a network of tables goes by most."""
        found = self.card.importance if self.card else {}
        columns = [f"{name} {value:.3g}" for name, value in list(found.items())[:SHOWN]]
        if not columns:
            return ""
        return f"{', '.join(columns)} ({what_it_is(self.model.spec.task)})"
