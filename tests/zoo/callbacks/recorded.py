"""A run's event files, opened for reading."""

from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SMALL = ("--trainer.max_epochs", "2", "--trainer.limit_train_batches", "4")
DRAWN = ("--data.source", "synthetic")
NETWORKS = {
    "classifier": ("fashion_ffnn", *DRAWN, *SMALL, "--trainer.val_check_interval", "4"),
    "binary": ("xor_mlp", "--trainer.max_epochs", "20"),
    "regression": ("regression_mlp", "--trainer.max_epochs", "2"),
    "recurrent": ("mnist_rnn", *DRAWN, *SMALL),
}


@dataclass(frozen=True)
class Run:
    """A finished run and what its event files say."""

    folder: Path

    @cached_property
    def events(self) -> EventAccumulator:
        everything = {"images": 0, "scalars": 0, "histograms": 0, "tensors": 0}
        return EventAccumulator(str(self.folder), size_guidance=everything).Reload()

    def tags(self, kind: str) -> set[str]:
        return set(self.events.Tags()[kind])

    def values(self, tag: str) -> list[float]:
        return [event.value for event in self.events.Scalars(tag)]

    def text(self, tag: str) -> str:
        (event,) = self.events.Tensors(f"{tag}/text_summary")
        return event.tensor_proto.string_val[0].decode()

    def images(self, tag: str) -> list[np.ndarray]:
        events = self.events.Images(tag)
        return [np.asarray(Image.open(BytesIO(e.encoded_image_string))) for e in events]
