"""Handwriting-like digits: three or four stroke shapes per digit, each image bent its own way."""

from functools import lru_cache

import numpy as np

from datamodules.synthetic import raster

# Readable at a glance, yet 784-512-512-10 needs several epochs (SGD 0.1: 84-87 % after one, 93-96 %
# after five).
JITTER = 0.07  # standard deviation of each control point, in half heights
BEND = 0.07  # standard deviation of the quadratic warp's coefficients
SCALE = (7.0, 10.0)  # half height in pixels
ROTATION = 0.16  # radians
SHEAR = 0.16
SHIFT = 1.3  # pixels
PEN = (0.6, 1.7)  # half width in pixels
INTENSITY = (0.65, 1.0)
PRESSURE = 0.25
NOISE = (0.0, 0.12)

# Per digit a list of shapes; a shape is a list of strokes ("line", "curve" or "loop") through
# points in a box of [-1, 1], y down. Points that strokes share stay joined when they are jittered.
SHAPES: list[list[list[tuple[str, list[tuple[float, float]]]]]] = [
    [  # 0: round, narrow, drawn with an overlapping start
        [("loop", [(0, -1), (0.52, -0.65), (0.62, 0), (0.52, 0.65), (0, 1), (-0.52, 0.65),
                   (-0.62, 0), (-0.52, -0.65)])],
        [("loop", [(0, -1), (0.36, -0.55), (0.4, 0), (0.36, 0.55), (0, 1), (-0.36, 0.55),
                   (-0.4, 0), (-0.36, -0.55)])],
        [("curve", [(0.25, -0.95), (-0.4, -0.75), (-0.6, 0), (-0.35, 0.8), (0.15, 0.97),
                    (0.55, 0.4), (0.55, -0.4), (0.2, -0.9), (-0.15, -0.8)])],
    ],
    [  # 1: a bar, with a flag, with a flag and a foot
        [("line", [(0, -1), (0, 1)])],
        [("line", [(-0.35, -0.6), (0, -1), (0, 1)])],
        [("line", [(-0.35, -0.65), (0, -1), (0, 1)]), ("line", [(-0.4, 1), (0, 1), (0.4, 1)])],
    ],
    [  # 2: straight foot, looped foot, wavy foot
        [("curve", [(-0.55, -0.55), (-0.1, -1), (0.5, -0.65), (0.3, 0), (-0.55, 1)]),
         ("line", [(-0.55, 1), (0.6, 1)])],
        [("curve", [(-0.5, -0.6), (0, -1), (0.5, -0.6), (0.2, 0.2), (-0.4, 0.9), (-0.6, 0.7),
                    (-0.3, 0.55), (0.2, 0.9), (0.65, 0.75)])],
        [("curve", [(-0.5, -0.7), (0.1, -1), (0.55, -0.5), (0, 0.3), (-0.6, 0.9)]),
         ("curve", [(-0.6, 0.9), (0, 0.8), (0.6, 0.95)])],
    ],
    [  # 3: two bows, flat top, bows with a bar between
        [("curve", [(-0.5, -0.75), (0.05, -1), (0.5, -0.6), (-0.05, -0.08)]),
         ("curve", [(-0.05, -0.08), (0.58, 0.4), (0.1, 1), (-0.55, 0.75)])],
        [("line", [(-0.5, -0.95), (0.5, -0.95), (-0.05, -0.2)]),
         ("curve", [(-0.05, -0.2), (0.52, 0.1), (0.5, 0.75), (-0.05, 1), (-0.55, 0.75)])],
        [("curve", [(-0.45, -0.8), (0.1, -1), (0.48, -0.7), (0.3, -0.25), (-0.2, -0.1)]),
         ("curve", [(-0.2, -0.1), (0.4, 0.05), (0.55, 0.5), (0.2, 0.95), (-0.5, 0.9)])],
    ],
    [  # 4: open, closed, open with a long right bar
        [("line", [(-0.45, -0.95), (-0.55, 0.15), (0.6, 0.15)]), ("line", [(0.3, -0.5), (0.3, 1)])],
        [("line", [(0.25, 1), (0.25, -1), (-0.6, 0.3), (0.65, 0.3)])],
        [("line", [(-0.4, -0.9), (-0.5, 0.05), (0.45, 0.05)]), ("line", [(0.5, -1), (0.35, 1)])],
    ],
    [  # 5: square shoulder, one sweep, separate roof
        [("line", [(0.5, -0.95), (-0.4, -0.95), (-0.45, -0.1)]),
         ("curve", [(-0.45, -0.1), (0.1, -0.3), (0.55, 0.2), (0.35, 0.8), (-0.1, 1),
                    (-0.55, 0.75)])],
        [("curve", [(0.5, -0.9), (-0.1, -0.95), (-0.45, -0.5), (0, -0.15), (0.5, 0.3), (0.2, 0.9),
                    (-0.5, 0.85)])],
        [("line", [(0.6, -1), (-0.3, -0.85), (-0.4, -0.15)]),
         ("curve", [(-0.4, -0.15), (0.3, -0.15), (0.5, 0.45), (0.1, 0.95), (-0.5, 0.8)])],
    ],
    [  # 6: bent, straight, curled
        [("curve", [(0.4, -0.95), (-0.15, -0.6), (-0.5, 0.1), (-0.45, 0.7), (0, 1), (0.5, 0.7),
                    (0.45, 0.2), (0, 0), (-0.45, 0.35)])],
        [("curve", [(0.15, -1), (-0.3, -0.2), (-0.5, 0.45), (-0.2, 0.95), (0.3, 0.9), (0.45, 0.45),
                    (0.1, 0.1), (-0.4, 0.4)])],
        [("curve", [(0.5, -0.7), (0.1, -1), (-0.4, -0.6), (-0.55, 0.2), (-0.3, 0.85), (0.2, 1),
                    (0.5, 0.55), (0.2, 0.1), (-0.3, 0.2), (-0.52, 0.5)])],
    ],
    [  # 7: plain, bent, crossed, with a serif
        [("line", [(-0.55, -0.9), (0.5, -0.9), (-0.1, 1)])],
        [("line", [(-0.55, -0.9), (0.55, -0.9)]), ("curve", [(0.55, -0.9), (0.1, 0), (-0.05, 1)])],
        [("line", [(-0.5, -0.9), (0.55, -0.9), (-0.1, 1)]), ("line", [(-0.25, 0), (0.5, 0)])],
        [("line", [(-0.55, -0.6), (-0.5, -0.9), (0.5, -0.9), (-0.15, 1)])],
    ],
    [  # 8: one crossing stroke, two rings, open at the top
        [("loop", [(0, -0.08), (0.4, -0.45), (0.35, -0.85), (0, -1), (-0.35, -0.85), (-0.4, -0.45),
                   (0, -0.08), (0.48, 0.35), (0.42, 0.82), (0, 1), (-0.42, 0.82), (-0.48, 0.35)])],
        [("loop", [(0, -1), (0.4, -0.55), (0, -0.1), (-0.4, -0.55)]),
         ("loop", [(0, -0.1), (0.52, 0.45), (0, 1), (-0.52, 0.45)])],
        [("curve", [(0.4, -0.85), (-0.1, -1), (-0.42, -0.6), (0, -0.05), (0.45, 0.5), (0, 1),
                    (-0.45, 0.5), (0, -0.05), (0.42, -0.5), (0.35, -1)])],
    ],
    [  # 9: straight stem, hooked stem, one sweep
        [("loop", [(0, -1), (-0.45, -0.7), (-0.4, -0.2), (0, 0), (0.42, -0.3), (0.4, -0.75)]),
         ("curve", [(0.4, -0.75), (0.42, -0.3), (0.3, 1)])],
        [("loop", [(0, -1), (-0.45, -0.7), (-0.4, -0.2), (0, 0), (0.42, -0.3), (0.4, -0.75)]),
         ("curve", [(0.42, -0.3), (0.35, 0.5), (0, 1), (-0.4, 0.85)])],
        [("curve", [(0.45, -0.75), (0, -1), (-0.45, -0.6), (-0.2, -0.1), (0.3, -0.25),
                    (0.45, -0.75), (0.4, 0.2), (0.2, 1)])],
    ],
]  # fmt: skip


@lru_cache(maxsize=64)
def _shape(digit: int, variant: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Control points (points, 2) and the matrices that give the segments' starts and ends."""
    strokes = SHAPES[digit][variant]
    points = list(dict.fromkeys(point for _, stroke in strokes for point in stroke))
    starts, ends = [], []
    for style, stroke in strokes:
        spans = len(stroke) - (style != "loop")
        # About 14 pieces per curve: at 28 pixels more cannot be seen.
        per_span = 1 if style == "line" else max(2, round(14 / spans))
        basis = raster.spline_basis(len(stroke), style == "loop", per_span)
        select = np.zeros((len(stroke), len(points)), dtype=np.float32)
        select[np.arange(len(stroke)), [points.index(point) for point in stroke]] = 1
        curve = basis @ select
        starts.append(curve[:-1])
        ends.append(curve[1:])
    return np.array(points, dtype=np.float32), np.concatenate(starts), np.concatenate(ends)


def draw_class(digit: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws `count` images of one digit.

    Args:
        digit: 0 to 9.
        count: Number of images.
        rng: Source of every random choice.

    Returns:
        uint8 images, (count, 28, 28), white ink on black.
    """
    variants = len(SHAPES[digit])
    shares = [len(part) for part in np.array_split(np.arange(count), variants)]
    return np.concatenate(
        [_draw(digit, variant, share, rng) for variant, share in enumerate(shares) if share]
    )


def _draw(digit: int, variant: int, count: int, rng: np.random.Generator) -> np.ndarray:
    points, starts, ends = _shape(digit, variant)
    points = points + JITTER * rng.standard_normal((count, *points.shape), dtype=np.float32)
    pieces = np.concatenate([starts @ points, ends @ points], axis=1)
    # One bend per image: the page is warped by a quadratic, as a hasty hand does.
    x, y = pieces[..., :1], pieces[..., 1:]
    bend = BEND * rng.standard_normal((count, 3, 1, 2), dtype=np.float32)
    pieces = pieces + bend[:, 0] * x * y + bend[:, 1] * y**2 + bend[:, 2] * x**2
    size = rng.uniform(*SCALE, (count, 1))
    pieces = raster.affine(
        pieces,
        rotation=rng.normal(0, ROTATION, count),
        scale=size * rng.uniform([0.85, 0.9], [1.25, 1.05], (count, 2)),
        shear=rng.normal(-0.08, SHEAR, count),
        shift=rng.normal(0, SHIFT, (count, 2)),
    )
    starts, ends = np.split(pieces, 2, axis=1)
    distance = raster.stroke_distance(starts, ends)
    picture = raster.ink(distance, rng.uniform(*PEN, count), rng.uniform(0.9, 2.2, count))
    picture *= raster.per_image(rng.uniform(*INTENSITY, count))
    # Uneven pressure fades parts of the stroke.
    picture *= np.clip(1 + PRESSURE * raster.clouds(rng, count), 0.1, 1.3)
    return raster.to_bytes(picture, rng, rng.uniform(*NOISE, count))
