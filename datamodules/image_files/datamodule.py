"""The datamodule for pictures in files: a folder becomes training data in one command."""

import collections
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.base import Split, Task, TensorDataModule
from datamodules.errors import UserError
from datamodules.folds import check_folds, hold_out_fold
from datamodules.image_files.cropping import Crop, ImageReader, Polarity
from datamodules.image_files.listing import list_labelled
from datamodules.image_files.loading import Header, Loaded, load_images, read_headers
from datamodules.image_files.profile import content_digest, described
from datamodules.image_files.storage import room_for
from datamodules.spec import DataSpec
from datamodules.tabular import splits

# Pictures of different sizes are read as squares of their usual longer side, at most this.
LARGEST_SIDE = 224


class ImageFiles(TensorDataModule):
    """Pictures in files, a folder for each class: PNG, JPEG, WebP, GIF, BMP or TIFF.

    They may be of any size, grey, RGB, with a palette, transparent, of 16 bits or turned by EXIF.
    They are decoded once, with threads, scaled whole into one size, and kept as bytes.

    Args:
        path: A folder with a folder for each class; or with `train`, `val` and `test` above those
            (what is missing is held out of `train`); or a CSV or Parquet file of file and label,
            and of `split` if there is such a column.
        size: Height and width that the network reads, one number for both. Default: those of the
            weights that training starts from; else those of the pictures, if they are all alike;
            else a square of their usual longer side, at most 224.
        channels: 1 (grey) or 3 (RGB). Default: those of the weights; else as the pictures are.
        crop: `box` cuts off empty margins; `mass` scales what is drawn to 20 / 28 of the height and
            centres it by its mass, as MNIST was made; `none` leaves pictures whole. Default: as the
            weights were made, else none. It travels with the weights.
        polarity: `light_on_dark` turns round what is drawn dark on light, `dark_on_light` the other
            way, `keep` neither. Default: as the weights were made, else keep.
        val_split: Pictures to validate on, as a fraction or a number; each class in proportion.
        test_split: Pictures to test on, likewise.
        folds: Hold out one of so many folds as the test split, for cross-validation: every picture
            is held out by one of them, each class in proportion.
        fold: Which fold, from 0.
        examples_per_class: Keep only so many training pictures of each class, drawn with `seed`.
        file_column: The column of files in a CSV, relative to its folder. Default: found by name.
        label_column: The column of classes in a CSV. Default: found by name.
        batch_size: Pictures in a training batch.
        seed: Seed of the splits.
        shuffle: Draw a new order of the training pictures every epoch.
        augment: Modules that change a training batch of pictures, applied in order.
    """

    origin = "real"

    def __init__(
        self,
        path: str,
        size: int | list[int] | None = None,
        channels: int | None = None,
        crop: Crop | None = None,
        polarity: Polarity | None = None,
        val_split: int | float = 0.15,
        test_split: int | float = 0.15,
        folds: int | None = None,
        fold: int = 0,
        examples_per_class: int | None = None,
        file_column: str | None = None,
        label_column: str | None = None,
        batch_size: int = 64,
        seed: int = 0,
        shuffle: bool = True,
        augment: list[nn.Module] | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, shuffle=shuffle, augment=augment)
        sides = [size, size] if isinstance(size, int) else size
        if sides is not None and (len(sides) != 2 or min(sides) < 1):
            raise UserError(f"--data.size is a height and a width, both positive, not {size}.")
        if channels not in (None, 1, 3):
            raise UserError(f"--data.channels is 1 (grey) or 3 (RGB), not {channels}.")
        if examples_per_class is not None and examples_per_class < 1:
            raise UserError(
                f"--data.examples_per_class must be at least 1, not {examples_per_class}."
            )
        check_folds(folds, fold)
        self.folds, self.fold = folds, fold
        self.path = path
        self.size, self.channels = sides, channels
        self.crop, self.polarity = crop, polarity
        self.val_split, self.test_split = val_split, test_split
        self.examples_per_class = examples_per_class
        self.columns = file_column, label_column
        self._class_names: list[str] = []
        self._reader: ImageReader | None = None
        self._like: DataSpec | None = None
        self._headers: list[Header] = []
        self._profile: list[str] = []
        self._checksums: dict[str, str] = {}
        #: The files of every split, in the order of its examples, and their numbers among all.
        self.files: dict[str, list[Path]] = {}
        self.rows: dict[str, np.ndarray] = {}

    @property
    def task(self) -> Task:  # type: ignore[override]  # what others know at once is in the folder
        """Multiclass; that of a network that is followed."""
        return "multiclass" if self._expected is None else self._expected.task

    @property
    def class_names(self) -> list[str]:
        """The names of the class folders, sorted; the network's, of one that is followed."""
        _ = self.splits
        return self._class_names

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Bytes become 0-1; and how a picture is cropped before that, if it is."""
        _ = self.splits
        scale = {"mean": 0.0, "std": 1.0}
        if self._expected is not None:
            scale = {k: v for k, v in self._expected.preprocessing.items() if k in scale}
        assert self._reader is not None  # the splits were read by it
        return {"kind": "pixels", **scale, **self._reader.plain()}

    @property
    def profile(self) -> str:
        """What was read: classes, sizes, unreadable files, duplicates across splits."""
        _ = self.splits
        return "\n".join(self._profile)

    @property
    def checksums(self) -> dict[str, str]:  # type: ignore[override]
        """One MD5 over the content of all files and their places."""
        _ = self.splits
        return self._checksums

    def follow(self, network: Any) -> Self:
        """Read the pictures at a network's size and cropped as it is used to."""
        expected = getattr(network, "spec", None)
        known = None
        if isinstance(expected, DataSpec) and expected.kind == "pixels":
            known = ImageReader.of(expected)
        if self._reader is not None and known is not None:
            wanted = self.crop or known.crop, self.polarity or known.polarity
            if wanted != (self._reader.crop, self._reader.polarity):
                self._splits = None
        return super().follow(network)

    def read_like(self, spec: DataSpec) -> None:
        """Read the pictures as a network does, as far as nothing else was asked for.

        The classes stay those of the folder.
        """
        spec.require("pixels")
        before, self._like = self._reader, spec
        if self._splits is None or before is None:
            return
        if self._make_reader(self._headers) != before:  # else they need not be decoded again
            self._splits = None

    def load_splits(self) -> dict[str, Split]:
        """Find the pictures, split them, and decode them at the network's size or their own."""
        listing = list_labelled(self.path, *self.columns)
        headers = read_headers(listing.files)
        readable = [i for i, header in enumerate(headers) if not header.problem]
        if not readable:
            count = len(headers)
            raise UserError(f"None of {count} pictures can be read: {headers[0].problem}")
        names = listing.class_names
        if self._expected is None and len(names) < 2:
            raise UserError(
                f"'{self.path}' has one class only, '{names[0]}': a network has nothing to tell "
                "apart."
            )
        self._headers = [headers[i] for i in readable]
        reader = self._reader = self._make_reader(self._headers)
        codes = np.array([names.index(listing.labels[i]) for i in readable])
        rows = self._split(np.array([listing.roles[i] for i in readable]), codes, names)
        order = np.concatenate(list(rows.values()))
        numbers = np.array(readable)[order]
        files = [listing.files[number] for number in numbers]
        loaded = load_images(files, reader, room_for((len(files), *reader.shape)))
        target = torch.from_numpy(codes[order])
        if self._expected is not None:
            target = torch.from_numpy(self._expected.numbers_of(names))[target]
            names = self._expected.names_for(names)
        self._class_names = names
        found = self._take(rows, loaded, target, numbers)
        self.files = {split: [listing.files[n] for n in kept] for split, kept in self.rows.items()}
        self._profile = described(self.path, listing, headers, reader, loaded, self.files)
        self._checksums = {Path(self.path).name: content_digest(Path(self.path).parent, loaded)}
        if self.task == "binary":
            return {split: (x, y.float()) for split, (x, y) in found.items()}
        return found

    def _make_reader(self, headers: list[Header]) -> ImageReader:
        like = self._expected or self._like
        known: dict[str, Any] = {} if like is None else vars(ImageReader.of(like))
        sizes = collections.Counter(header.size for header in headers)
        if self.size is not None:
            height, width = self.size
        elif known:
            _, height, width = known["shape"]
        elif len(sizes) == 1 and max(next(iter(sizes))) <= LARGEST_SIDE:
            width, height = next(iter(sizes))
        else:
            longer = int(np.median([max(header.size) for header in headers]))
            height = width = min(longer, LARGEST_SIDE)
        channels = self.channels or (known["shape"][0] if known else None)
        if channels is None:
            channels = 1 if all(header.is_grey for header in headers) else 3
        crop = self.crop or known.get("crop", "none")
        polarity = self.polarity or known.get("polarity", "keep")
        return ImageReader((channels, height, width), crop, polarity)

    def _split(
        self, roles: np.ndarray, codes: np.ndarray, names: list[str]
    ) -> dict[str, np.ndarray]:
        """Return the numbers of the readable pictures of each split."""
        given = {role: np.flatnonzero(roles == role) for role in ("train", "val", "test")}
        given = {role: index for role, index in given.items() if len(index)}
        if not given:  # no split is said
            given = {"train": np.arange(len(roles))}
        if "train" not in given:
            if self._expected is None:
                raise UserError(f"'{self.path}' has no pictures to train on, in a folder `train`.")
            given["train"] = np.array([], dtype=np.int64)
        if self.folds:
            if "test" in given:
                raise UserError("Give either --data.folds or pictures to test on.")
            pool = given["train"]
            kept, held = hold_out_fold(len(pool), self.folds, self.fold, codes[pool], self.seed)
            given |= {"train": pool[kept], "test": pool[held]}
        if self._expected is None or self.val_split or self.test_split:
            self._check_classes(np.bincount(codes[given["train"]], minlength=len(names)), names)
        rows = splits.make(given, codes, self.val_split, self.test_split, self.seed)
        if self.examples_per_class is not None:
            train = np.random.default_rng(self.seed).permutation(rows["train"])
            by_class = [train[codes[train] == number] for number in range(len(names))]
            firsts = [rows_of[: self.examples_per_class] for rows_of in by_class]
            rows["train"] = np.sort(np.concatenate(firsts))
        return {role: rows[role] for role in ("train", "val", "test")}

    def _check_classes(self, counts: np.ndarray, names: list[str]) -> None:
        if not counts.min() and self._expected is None:
            name = names[int(counts.argmin())]
            raise UserError(f"Class '{name}' of '{self.path}' has no readable picture to train on.")
        if counts.max(initial=0) < 3:
            raise UserError(
                f"No class of '{self.path}' has three pictures to train, validate and test on."
            )

    def _take(
        self, rows: dict[str, np.ndarray], loaded: Loaded, target: Tensor, numbers: np.ndarray
    ) -> dict[str, Split]:
        """Return the splits as parts of the pixels, moved together where a file was damaged."""
        found: dict[str, Split] = {}
        start = 0
        for role, index in rows.items():
            part = slice(start, start + len(index))
            good = np.flatnonzero(loaded.is_good[part])
            pixels = loaded.pixels[part]
            if len(good) < len(index):
                for place, row in enumerate(good):
                    pixels[place] = pixels[row]
            found[role] = torch.from_numpy(pixels[: len(good)]), target[part][good]
            self.rows[role] = numbers[part][good]
            start += len(index)
        return found
