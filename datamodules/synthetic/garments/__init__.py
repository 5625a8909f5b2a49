"""Garments in FashionMNIST's ten classes: silhouettes with random cut, cloth, folds and seams."""

import numpy as np

from datamodules.synthetic import raster
from datamodules.synthetic.garments import others, tops
from datamodules.synthetic.garments.sketch import Array, sometimes

# In FashionMNIST's order.
_DRAWERS = (
    tops.t_shirt,
    others.trouser,
    tops.pullover,
    tops.dress,
    tops.coat,
    others.sandal,
    tops.shirt,
    others.sneaker,
    others.bag,
    others.ankle_boot,
)


def draw_class(garment: int, count: int, rng: np.random.Generator) -> Array:
    """Draws `count` images of one garment.

    Args:
        garment: FashionMNIST's class index, 0 to 9.
        count: Number of images.
        rng: Source of every random choice.

    Returns:
        uint8 images, (count, 28, 28), bright cloth on black.
    """
    sketch = _DRAWERS[garment](count, rng)
    pose = {
        "rotation": rng.normal(0, 0.05, count),
        "scale": 14 * rng.uniform([0.78, 0.84], [1.02, 1.0], (count, 2)),
        "shear": rng.normal(0, 0.05, count),
        "shift": rng.normal(0, 0.8, (count, 2)),
    }
    picture = np.zeros((count, raster.SIZE, raster.SIZE), dtype=np.float32)
    for outline, shade in sketch.fills:
        wobble = rng.normal(0, 0.015, outline.shape).astype(np.float32)
        part = raster.fill(raster.affine(outline + wobble, **pose))
        np.maximum(picture, part * raster.per_image(shade), out=picture)
    for line, half_width, shade in sketch.straps:
        part = raster.stroke(raster.affine(line, **pose), half_width)
        np.maximum(picture, part * raster.per_image(shade), out=picture)
    for line, half_width, strength in sketch.seams:
        part = raster.stroke(raster.affine(line, **pose), half_width)
        picture *= 1 + part * raster.per_image(strength)
    picture *= _cloth(count, rng)
    return raster.to_bytes(picture, rng, rng.uniform(0, 0.06, count))


def _cloth(count: int, rng: np.random.Generator) -> Array:
    """Brightness of the cloth over the frame: base, gradient, folds, and stripes for a third."""
    grid = np.linspace(-1, 1, raster.SIZE, dtype=np.float32)
    x, y = grid[None, None, :], grid[None, :, None]
    slope = rng.normal(0, 0.1, (2, count))
    cloth = 1 + raster.per_image(slope[0]) * x + raster.per_image(slope[1]) * y
    cloth += raster.per_image(rng.uniform(0.03, 0.2, count)) * raster.clouds(rng, count, 7)
    angle = rng.choice([0, np.pi / 2, 0.8, -0.8], count) + rng.normal(0, 0.05, count)
    pitch = rng.uniform(6, 22, count)
    phase = (
        raster.per_image(pitch * np.cos(angle)) * x + raster.per_image(pitch * np.sin(angle)) * y
    )
    phase += raster.per_image(rng.uniform(0, 2 * np.pi, count))
    striped = sometimes(rng, count, 0.33) * rng.uniform(0.1, 0.45, count)
    cloth += raster.per_image(striped) * np.cos(phase)
    return np.maximum(cloth, 0.1) * raster.per_image(rng.uniform(0.35, 0.95, count))
