"""Drawn digits and garments: what MNIST and FashionMNIST fall back on without files or network.

28x28 grey images of ten balanced classes, 12,000 for training and 2,000 for testing, drawn from
the same distribution with different random numbers and cached on disk. They resemble the real data
sets in shape, range and difficulty, nothing more: no figure measured on them says anything about
the real ones.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

__all__ = ["KINDS", "SIZES", "VERSION", "draw"]

# Part of the seed and of the cache's file name: raise it with every change to what is drawn.
VERSION = 1
SIZES = {"train": 12_000, "test": 2_000}
KINDS = ("digits", "garments")


def draw(kind: str, split: str, cache_dir: Path | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns one split of the drawn data, from the cache if it is there, else drawn and cached.

    The same version gives the same images on every call. A cache that is damaged is drawn again
    and replaced; one that cannot be written is done without.

    Args:
        kind: "digits" or "garments".
        split: "train" (12,000 images) or "test" (2,000).
        cache_dir: Folder of the cache; by default `lightning-zoo` in the user's cache folder
            (`$XDG_CACHE_HOME`, else `~/.cache`).

    Returns:
        uint8 images (N, 1, 28, 28), bright on black, and int64 labels (N,), in random order and
        with the same number of images for each of the ten classes.

    Raises:
        ValueError: If `kind` or `split` is not one of the above.
    """
    if kind not in KINDS:
        raise ValueError(f"synthetic data of kind {kind!r}: choose one of {', '.join(KINDS)}")
    if split not in SIZES:
        raise ValueError(f"synthetic split {split!r}: choose one of {', '.join(SIZES)}")
    folder = cache_dir if cache_dir is not None else _default_cache_dir()
    path = None if folder is None else Path(folder) / f"synthetic-{kind}-{split}-v{VERSION}.npz"
    arrays = _read(path, SIZES[split]) if path else None
    if arrays is None:
        arrays = _generate(kind, split)
        if path:
            _write(path, *arrays)
    images, labels = arrays
    return torch.from_numpy(images), torch.from_numpy(labels)


def _generate(kind: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Draws a split: images (N, 1, 28, 28) uint8 and labels (N,) int64."""
    if kind == "digits":
        from datamodules.synthetic.digits import draw_class
    else:
        from datamodules.synthetic.garments import draw_class
    seed = [VERSION, KINDS.index(kind), list(SIZES).index(split)]
    count = SIZES[split] // 10
    images = np.concatenate(
        [draw_class(label, count, np.random.default_rng([*seed, label])) for label in range(10)]
    )
    labels = np.repeat(np.arange(10), count)
    order = np.random.default_rng([*seed, 10]).permutation(len(labels))
    return images[order][:, None], labels[order]


def _default_cache_dir() -> Path | None:
    """The user's cache folder for this package; None where there is no home folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore a relative path.
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:
            return None
    return base / "lightning-zoo"


def _read(path: Path, size: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Reads a cached split; None if it is missing, damaged or not what this module writes."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"]
    except Exception:  # A damaged zip fails in a dozen ways, and each means: draw it again.
        return None
    sound = (
        images.dtype == np.uint8
        and images.shape == (size, 1, 28, 28)
        and labels.dtype == np.int64
        and labels.shape == (size,)
        and labels.min() >= 0
        and np.array_equal(np.bincount(labels), [size // 10] * 10)
    )
    return (images, labels) if sound else None


def _write(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Writes a cached split in one step, so that no reader sees half of it; gives up quietly."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, images=images, labels=labels)
        Path(temporary).replace(path)
    except OSError:  # A full disk or a read-only folder: the next call draws again.
        pass
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):  # Already gone where the write succeeded.
                Path(temporary).unlink()
