"""Digits as a phone photographs them, drawn from MNIST's: paper, shadow, tilt, off centre."""

import numpy as np
from PIL import Image, ImageFilter


def photograph(digit: np.ndarray, seed: int) -> Image.Image:
    """Return a digit (28, 28) uint8, light on dark, as an RGB photograph of dark ink on paper.

    The digit has a fifth to a half of the height, is tilted by up to 12 degrees and lies anywhere.
    Light falls off to one side, a shadow with a soft edge covers a part, the paper has a grain.
    """
    rng = np.random.default_rng(seed)
    width, height = (400, 300) if rng.random() < 0.5 else (300, 400)
    side = int(rng.uniform(0.3, 0.75) * min(width, height))
    ink = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    ink = ink.rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC, expand=True)
    left = int(rng.integers(5, width - ink.width - 5))
    top = int(rng.integers(5, height - ink.height - 5))
    layer = Image.new("L", (width, height))
    layer.paste(ink, (left, top))
    covered = np.asarray(layer, dtype=np.float32)[..., None] / 255
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = (np.cos(angle) * columns / width + np.sin(angle) * rows / height)[..., None]
    light = 1 - rng.uniform(0.1, 0.35) * (along - along.min())
    edge = rng.uniform(along.min(), along.max())
    light = light * (
        1 - rng.uniform(0.1, 0.4) / (1 + np.exp(-(along - edge) * rng.uniform(15, 80)))
    )
    paper = np.array([235, 230, 215], dtype=np.float32) + rng.normal(0, 3, (height, width, 1))
    pen = np.array([40, 45, 90], dtype=np.float32) * rng.uniform(0.6, 1.4)
    scene = (paper * (1 - covered) + pen * covered) * light + rng.normal(0, 4, (height, width, 3))
    photo = Image.fromarray(scene.clip(0, 255).astype(np.uint8))
    return photo.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
