"""MNIST and FashionMNIST as in-memory tensors, from the published IDX files or synthetic."""

import warnings
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from datamodules.base import Split, Task, TensorDataModule, hold_out
from datamodules.errors import UserError
from datamodules.folders import data_folder
from datamodules.idx import md5_of, read_idx
from datamodules.published_files import FILE_NAMES, FILES, PublishedFiles

Source = Literal["auto", "real", "synthetic"]

NUM_EXAMPLES = {"train": 60_000, "test": 10_000}
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049


class SyntheticDataWarning(UserWarning):
    """The data are synthetic: results on them say nothing about the real ones."""


class UnpublishedDataWarning(UserWarning):
    """The files are not those that everybody else measures on."""


class ImageDataModule(TensorDataModule):
    """What MNIST and FashionMNIST share: 60,000 + 10,000 grey images of 28 x 28 in 10 classes.

    Args:
        data_dir: Folder with the IDX files, plain or gzipped, in torchvision's layout
            (`NAME/raw/...`) or directly inside. Default: the environment variable ZOO_DATA_DIR,
            else `data`. A download goes there, too.
        source: `auto` takes the real files, else downloads them, else, if nobody named a folder,
            draws synthetic images and says so; `real` never falls back; `synthetic` never touches
            the network.
        val_size: Training images held out for validation, as a number or a fraction. Default: one
            in twelve, which is 5,000 of the real 60,000.
        normalize: Let the model subtract the training images' mean and divide by their standard
            deviation, instead of only scaling pixels to 0-1.
        classes: Keep the images of these classes alone, renumbered in this order.
        examples_per_class: Keep only so many training images of each class, drawn with `seed`.
        positive_classes: Make the task binary: is the class one of these? (`[0, 1, 2]` on MNIST
            asks whether a digit is less than 3.)
        batch_size: Images in a training batch.
        seed: Seed of the validation split; the order of the images follows `seed_everything`.
        shuffle: Draw a new order of the training images every epoch.
        augment: Modules that change a training batch of images, applied in order.
    """

    #: The dataset's name, which is also its folder's.
    name: str
    #: What `datamodules.synthetic` makes in its place.
    synthetic_kind: str
    labels: tuple[str, ...]
    #: MD5 of the published files, unpacked: by split, of the images and of the labels.
    published_md5: ClassVar[dict[str, tuple[str, str]]]
    #: Of the published training images, scaled to 0-1.
    pixel_mean_and_std: tuple[float, float]
    #: How pictures in files become like these, as `datamodules.image_files.cropping` names it.
    reading: ClassVar[dict[str, str]]

    def __init__(
        self,
        data_dir: str | None = None,
        source: Source = "auto",
        val_size: int | float | None = None,
        normalize: bool = False,
        classes: list[int] | None = None,
        examples_per_class: int | None = None,
        positive_classes: list[int] | None = None,
        batch_size: int = 64,
        seed: int = 0,
        shuffle: bool = True,
        augment: list[nn.Module] | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, shuffle=shuffle, augment=augment)
        for option, chosen in {"classes": classes, "positive_classes": positive_classes}.items():
            outside = [c for c in chosen or [] if not 0 <= c < len(self.labels)]
            if outside:
                raise UserError(
                    f"--data.{option} names class {outside[0]}, but the classes of {self.name} "
                    f"are numbered 0 to {len(self.labels) - 1}."
                )
            if len(set(chosen or [])) < len(chosen or []):
                raise UserError(f"--data.{option} {chosen} names a class twice.")
        if examples_per_class is not None and examples_per_class < 1:
            raise UserError(
                f"--data.examples_per_class must be at least 1, not {examples_per_class}."
            )
        self.data_dir, self.data_dir_named_by = data_folder(data_dir)
        self._files = PublishedFiles(self.name, self.data_dir)
        self.source = source
        self.val_size = 1 / 12 if val_size is None else val_size
        self.normalize = normalize
        self.classes = list(classes) if classes else list(range(len(self.labels)))
        self.examples_per_class = examples_per_class
        self.positive_classes = positive_classes
        self.unpublished_files: list[str] = []
        self.checksums: dict[str, str] = {}
        self._why_no_download = ""

    @property
    def task(self) -> Task:  # type: ignore[override]
        """Binary with `positive_classes`, else multiclass; that of a network that is followed."""
        if self._expected is not None:
            return self._expected.task
        return "binary" if self.positive_classes else "multiclass"

    @property
    def class_names(self) -> list[str]:
        """The class names; for a binary task `not A or B` and `A or B`."""
        own = self._own_class_names()
        return own if self._expected is None else self._expected.names_for(own)

    def _own_class_names(self) -> list[str]:
        if self.positive_classes:
            positive = " or ".join(self.labels[c] for c in self.positive_classes)
            return [f"not {positive}", positive]
        return [self.labels[c] for c in self.classes]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One channel, 28 rows, 28 columns."""
        return (1, 28, 28)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Pixel scale: bytes become 0-1, then `(x - mean) / std`."""
        mean, std = self.pixel_mean_and_std if self.normalize else (0.0, 1.0)
        return {"kind": "pixels", "mean": mean, "std": std, **self.reading}

    def prepare_data(self) -> None:
        """Download what is missing; a Trainer asks for that in one process of each machine."""
        if self._splits is None and self.source != "synthetic" and not self._files.is_complete():
            self._why_no_download = self._files.download()

    def load_splits(self) -> dict[str, Split]:
        """Find, download or make the images, then split validation out of train."""
        if self._expected is not None:
            self._expected.require("pixels")
        self.unpublished_files = []
        train, test = self._load()
        kept, held_out = hold_out(len(train[0]), self.val_size, self.seed)
        splits = {
            "train": (train[0][kept], train[1][kept]),
            "val": (train[0][held_out], train[1][held_out]),
            "test": test,
        }
        return {name: self._select(name, *split) for name, split in splits.items()}

    def _select(self, split: str, images: Tensor, labels: Tensor) -> Split:
        """Apply `classes`, `examples_per_class` and `positive_classes` to one split."""
        number = torch.full((len(self.labels),), -1)
        number[self.classes] = torch.arange(len(self.classes))
        chosen = number[labels] >= 0
        if split == "train" and self.examples_per_class is not None:
            generator = torch.Generator().manual_seed(self.seed)
            order = torch.randperm(len(labels), generator=generator)
            shuffled = labels[order]
            seen_of_class = nn.functional.one_hot(shuffled, len(self.labels)).cumsum(0)
            number_in_class = seen_of_class.gather(1, shuffled[:, None]).squeeze(1)
            chosen[order] &= number_in_class <= self.examples_per_class
        images, labels = images[chosen], labels[chosen]
        if self.positive_classes:
            target = torch.isin(labels, torch.tensor(self.positive_classes)).long()
        else:
            target = number[labels]
        if self._expected is not None:
            target = torch.from_numpy(self._expected.numbers_of(self._own_class_names()))[target]
        return images, target.float() if self.task == "binary" else target

    def _load(self) -> tuple[Split, Split]:
        if self.source == "synthetic":
            return self._synthetic("--data.source synthetic asks for them")
        if self.trainer is None:  # which would have asked for it already
            self.prepare_data()
        reason = self._why_no_download or "the process that downloads has none"
        if self._files.is_complete():
            self.origin = "real"
            return self._read("train"), self._read("test")
        if self.source == "real" or self.data_dir_named_by:
            named = f", which {self.data_dir_named_by} names," if self.data_dir_named_by else ""
            raise UserError(
                f"{self.name} is not in '{self.data_dir}'{named} and cannot be downloaded "
                f"({reason}). Put {', '.join(FILE_NAMES)} (plain "
                f"or .gz) into '{self.data_dir / self.name / 'raw'}', or name their folder with "
                "--data.data_dir or ZOO_DATA_DIR; --data.source synthetic asks for drawn images."
            )
        return self._synthetic(f"no files in '{self.data_dir}', and no download: {reason}")

    def _synthetic(self, reason: str) -> tuple[Split, Split]:
        from datamodules.synthetic import synthetic_images

        self.origin = "synthetic"
        warnings.warn(
            f"These are synthetic images, not {self.name} ({reason}). Accuracies on them say "
            f"nothing about {self.name}. For the real ones put its four IDX files into a folder "
            "and pass --data.data_dir FOLDER (or set ZOO_DATA_DIR), or connect to the network "
            "once.",
            SyntheticDataWarning,
            stacklevel=2,
        )
        kind = self.synthetic_kind
        return synthetic_images(kind, "train"), synthetic_images(kind, "test")

    def _refuse_files_of_others(self, path: Path, digest: str) -> None:
        """Refuse a published file of another dataset, as all name their files alike."""
        for other in ImageDataModule.__subclasses__():
            if digest in (md5 for pair in other.published_md5.values() for md5 in pair):
                raise UserError(
                    f"'{path}' is {other.name}'s file, not {self.name}'s: the names are the same. "
                    f"Put {self.name}'s into a folder of their own, such as '{self.name}/raw'."
                )

    def _read(self, split: str) -> Split:
        images_path, labels_path = (
            path for name in FILES[split] if (path := self._files.find(name))
        )
        images = read_idx(images_path, IMAGES_MAGIC, (NUM_EXAMPLES[split], 28, 28))
        labels = read_idx(labels_path, LABELS_MAGIC, (NUM_EXAMPLES[split],))
        found = md5_of(images, IMAGES_MAGIC), md5_of(labels, LABELS_MAGIC)
        for path, digest, published in zip(
            (images_path, labels_path), found, self.published_md5[split], strict=True
        ):
            self.checksums[path.name.removesuffix(".gz")] = digest
            if digest != published:
                self._refuse_files_of_others(path, digest)
                self.unpublished_files.append(path.name.removesuffix(".gz"))
                warnings.warn(
                    f"'{path}' is not the published file of {self.name}: the MD5 of its content "
                    f"is {digest}, not {published}. Figures measured on it cannot be compared "
                    "with anybody else's.",
                    UnpublishedDataWarning,
                    stacklevel=2,
                )
        labels = labels.long()
        if labels.max() >= len(self.labels):
            raise UserError(
                f"'{labels_path}' holds label {labels.max()}, but {self.name} has classes 0 to "
                f"{len(self.labels) - 1}: the file is damaged or is another dataset's."
            )
        return images.unsqueeze(1), labels


class MNIST(ImageDataModule):
    """Handwritten digits (LeCun, Cortes, Burges), 60,000 to train on and 10,000 to test."""

    name = "MNIST"
    synthetic_kind = "digits"
    labels = tuple("0123456789")
    published_md5: ClassVar = {
        "train": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
        "test": ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
    }
    pixel_mean_and_std = (0.1307, 0.3081)
    reading: ClassVar = {"crop": "mass", "polarity": "light_on_dark"}


class FashionMNIST(ImageDataModule):
    """Photographs of garments (Zalando Research), 60,000 to train on and 10,000 to test."""

    name = "FashionMNIST"
    synthetic_kind = "garments"
    published_md5: ClassVar = {
        "train": ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9"),
        "test": ("8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
    }
    pixel_mean_and_std = (0.2860, 0.3530)
    reading: ClassVar = {"polarity": "light_on_dark"}
    labels = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
