"""Batched drawing on 28x28 pixels: strokes by distance, outlines by scanline, both antialiased.

Every function draws a whole batch with a few array operations; the only Python loops run over the
segments of one shape (about 20), never over images. Coordinates are (x, y) in pixels, y pointing
down, with pixel centres at the whole numbers 0 .. 27.
"""

from functools import lru_cache

import numpy as np

SIZE = 28
CENTRE = (SIZE - 1) / 2
# 28x28 float32 pictures of 256 images are 0.8 MB, so the passes below stay in the second-level
# cache.
CHUNK = 256
SUBROWS = 3

Array = np.ndarray


@lru_cache(maxsize=256)
def spline_basis(count: int, closed: bool, per_span: int) -> Array:
    """The matrix that turns control points into points on their Catmull-Rom curve.

    Args:
        count: Number of control points, at least 2.
        closed: Whether the curve returns to its first point.
        per_span: Straight pieces between two neighbouring control points; 1 gives the polyline.

    Returns:
        Float32 matrix of shape (points, count). A closed curve repeats its first point at the end.
    """
    spans = count if closed else count - 1
    t = np.arange(per_span) / per_span
    weights = 0.5 * np.stack(
        [
            -t + 2 * t**2 - t**3,
            2 - 5 * t**2 + 3 * t**3,
            t + 4 * t**2 - 3 * t**3,
            -(t**2) + t**3,
        ],
        axis=1,
    )
    basis = np.zeros((spans * per_span + 1, count), dtype=np.float32)
    for span in range(spans):
        for neighbour in range(4):
            index = span + neighbour - 1
            index = index % count if closed else min(max(index, 0), count - 1)
            basis[span * per_span : (span + 1) * per_span, index] += weights[:, neighbour]
    basis[-1, 0 if closed else count - 1] = 1
    return basis


def stroke_distance(starts: Array, ends: Array) -> Array:
    """Distance of every pixel to the nearest of a batch of line segments.

    Args:
        starts: Segment starts in pixels, (images, segments, 2).
        ends: Segment ends in pixels, same shape.

    Returns:
        Float32 distances in pixels, (images, 28, 28).
    """
    return np.concatenate(
        [
            _stroke_distance(starts[i : i + CHUNK], ends[i : i + CHUNK])
            for i in range(0, len(starts), CHUNK)
        ]
    )


def _stroke_distance(starts: Array, ends: Array) -> Array:
    grid = np.arange(SIZE, dtype=np.float32)
    nearest = np.full((len(starts), SIZE, SIZE), np.inf, dtype=np.float32)
    along, inside = np.empty_like(nearest), np.empty_like(nearest)
    for segment in range(starts.shape[1]):
        start = starts[:, segment].astype(np.float32)
        direction = ends[:, segment].astype(np.float32) - start
        length2 = np.maximum((direction**2).sum(1), 1e-6)
        unit = direction / length2[:, None]
        dx, dy = grid - start[:, :1], grid - start[:, 1:]
        # t = (p - a).d / |d|^2, clipped to the segment; |p - a - t d|^2 = |p - a|^2 + |d|^2 t
        # (t - 2 t0). Everything but the products of t is a sum of a row and a column.
        row = (dx * unit[:, :1])[:, None, :]
        column = (dy * unit[:, 1:])[:, :, None]
        np.add(row, column, out=along)
        np.clip(along, 0, 1, out=inside)
        along *= -2
        along += inside
        along *= inside
        along *= length2[:, None, None]
        along += (dx**2)[:, None, :]
        along += (dy**2)[:, :, None]
        np.minimum(nearest, along, out=nearest)
    np.maximum(nearest, 0, out=nearest)
    return np.sqrt(nearest, out=nearest)


def stroke(points: Array, half_width: Array | float, softness: Array | float = 1.0) -> Array:
    """Ink of polylines: 1 inside the line, 0 outside, a ramp of `softness` pixels between.

    Args:
        points: Polylines in pixels, (images, points, 2).
        half_width: Half of the line's width in pixels, one number or one per image.
        softness: Width of the ramp at the line's edge in pixels, one number or one per image.

    Returns:
        Float32 ink in [0, 1], (images, 28, 28).
    """
    return ink(stroke_distance(points[:, :-1], points[:, 1:]), half_width, softness)


def ink(distance: Array, half_width: Array | float, softness: Array | float = 1.0) -> Array:
    """Turns distances (images, 28, 28) into ink in [0, 1]; overwrites and returns `distance`."""
    distance -= per_image(half_width)
    distance /= -per_image(softness)
    distance += 0.5
    return np.clip(distance, 0, 1, out=distance)


def fill(points: Array) -> Array:
    """Share of every pixel that lies inside a batch of closed outlines.

    Each edge adds its signed coverage to an accumulation buffer where it crosses a scanline; the
    running sum along the row is then the coverage, exact in x, with 3 scanlines per pixel in y.

    Args:
        points: Outlines in pixels, (images, corners, 2); the last corner joins the first.

    Returns:
        Float32 coverage in [0, 1], (images, 28, 28).
    """
    points = points.astype(np.float32)
    following = np.roll(points, -1, axis=1)
    lines = ((np.arange(SIZE * SUBROWS) + 0.5) / SUBROWS - 0.5).astype(np.float32)
    below, below_next = points[..., 1:] > lines, following[..., 1:] > lines
    image, corner, line = np.nonzero(below != below_next)
    start, end = points[image, corner], following[image, corner]
    slope = (end[:, 0] - start[:, 0]) / (end[:, 1] - start[:, 1])
    crossing = start[:, 0] + (lines[line] - start[:, 1]) * slope
    crossing = np.clip(crossing + 0.5, 0, SIZE)
    pixel = crossing.astype(np.int64)
    share = crossing - pixel
    sign = np.where(end[:, 1] > start[:, 1], 1 / SUBROWS, -1 / SUBROWS)
    width = SIZE + 2
    cell = (image * SIZE + line // SUBROWS) * width + pixel
    cells = len(points) * SIZE * width
    buffer = np.bincount(cell, sign * (1 - share), cells)
    buffer += np.bincount(cell + 1, sign * share, cells)
    coverage = np.cumsum(buffer.reshape(-1, SIZE, width), axis=2)[:, :, :SIZE]
    return np.minimum(np.abs(coverage), 1).astype(np.float32)


def affine(points: Array, rotation: Array, scale: Array, shear: Array, shift: Array) -> Array:
    """Places drawings on the page: shear, scale, rotate, then move to the centre plus a shift.

    Args:
        points: Points around the origin, (images, points, 2).
        rotation: Radians, (images,).
        scale: Pixels per unit in x and y, (images, 2).
        shear: Shift in x per unit of y, (images,).
        shift: Pixels in x and y, (images, 2).

    Returns:
        Points in pixels, (images, points, 2).
    """
    cosine, sine = np.cos(rotation), np.sin(rotation)
    turn = np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], 1)
    stretch = np.zeros_like(turn)
    stretch[:, 0, 0] = scale[:, 0]
    stretch[:, 0, 1] = scale[:, 0] * shear
    stretch[:, 1, 1] = scale[:, 1]
    matrix = turn @ stretch
    return points @ matrix.transpose(0, 2, 1) + (CENTRE + shift)[:, None, :]


def clouds(rng: np.random.Generator, count: int, cells: int = 5) -> Array:
    """Smooth random fields of about unit variance, (count, 28, 28): `cells` bumps across."""
    basis = _bilinear(cells)
    coarse = rng.standard_normal((count, cells, cells), dtype=np.float32)
    return basis @ coarse @ basis.T


@lru_cache(maxsize=8)
def _bilinear(cells: int) -> Array:
    position = np.linspace(0, cells - 1, SIZE)[:, None]
    return np.maximum(0, 1 - np.abs(position - np.arange(cells))).astype(np.float32)


def per_image(value: Array | float) -> Array:
    """A number, or one number per image, ready to broadcast over (images, 28, 28)."""
    value = np.asarray(value, dtype=np.float32)
    return value[:, None, None] if value.ndim else value


def to_bytes(picture: Array, rng: np.random.Generator, noise: Array | float) -> Array:
    """Adds sensor noise of the given standard deviation (1 is full white), rounds to uint8."""
    picture = picture + rng.standard_normal(picture.shape, dtype=np.float32) * per_image(noise)
    picture *= 255
    picture += 0.5
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8)
