"""What a garment is before it becomes pixels: outlines, straps and seams for a whole batch."""

from dataclasses import dataclass, field

import numpy as np

from datamodules.synthetic import raster

Array = np.ndarray
Number = Array | float


@dataclass
class Sketch:
    """One class drawn `count` times, around the origin in half frames (14 pixels), y down.

    Attributes:
        fills: Closed outlines (count, corners, 2), each with its brightness.
        straps: Lines (count, points, 2) of cloth, with half width in pixels and brightness.
        seams: Lines (count, points, 2) that darken (below 0) or brighten (above 0) what is
            there, with half width in pixels and strength (count,).
    """

    fills: list[tuple[Array, Number]] = field(default_factory=list)
    straps: list[tuple[Array, Number, Number]] = field(default_factory=list)
    seams: list[tuple[Array, Number, Array]] = field(default_factory=list)


def path(count: int, *points: tuple[Number, Number], mirrored: bool = False) -> Array:
    """Stacks points whose coordinates are numbers or (count,) arrays to (count, points, 2).

    With `mirrored` the points are the right half, top to bottom, and the left half is added.
    """
    stacked = np.empty((count, len(points), 2), dtype=np.float32)
    for index, (x, y) in enumerate(points):
        stacked[:, index, 0], stacked[:, index, 1] = x, y
    if mirrored:
        stacked = np.concatenate([stacked, stacked[:, ::-1] * np.float32([-1, 1])], axis=1)
    return stacked


def curve(path: Array, closed: bool = False, per_span: int = 3) -> Array:
    """The smooth curve through a batch of paths."""
    return raster.spline_basis(path.shape[1], closed, per_span) @ path


def sometimes(rng: np.random.Generator, count: int, share: float) -> Array:
    """1 for about `share` of the images, else 0."""
    return (rng.random(count) < share).astype(np.float32)
