"""Synthetic digits and garments: what MNIST and FashionMNIST fall back on without files or network.

28x28 grey images of ten balanced classes, 12,000 for training and 2,000 for testing. Pillow draws
each digit in each of 20 fonts that come with matplotlib, and 200 cuts of each garment; then every
image is one of these, distorted and shaded in its own way. The splits have the fonts in common,
but no cut of a garment and no distortion. They resemble the real data sets in shape, range and
difficulty, nothing more: no figure measured on them says anything about the real ones.
"""

import math
from pathlib import Path
from random import Random
from typing import NamedTuple

import matplotlib
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor
from torch.nn import functional as F

from datamodules.augment import RandomDistortion

__all__ = ["KINDS", "LETTERS", "SIZES", "synthetic_images", "synthetic_letters"]

KINDS = ("digits", "garments")
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"  # I and O are drawn as 1 and 0 are
SIZES = {"train": 12_000, "test": 2_000}
SIDE = 28
SCALE = 4  # Pillow's polygons are not antialiased: all is drawn larger and averaged.

DIGIT_SIZE = 100  # of the font, before that: a digit becomes about 18 pixels high
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("DejaVuSansMono-BoldOblique", "cmb10", "cmr10", "cmss10", "cmtt10"),
)


class Part(NamedTuple):
    """A piece of a garment.

    Attributes:
        points: Corners as SVG writes them, "x,y x,y ...", from -100 to 100, y pointing down; of
            all but shoes, the right half.
        shade: Range of brightness; plain cloth is 1.
        width: Range of a line's width in pixels; None fills the outline.
        share: How many of the garments have it.
    """

    points: str
    shade: tuple[float, float] = (1, 1)
    width: tuple[float, float] | None = None
    share: float = 1


CUTS = 200  # of each garment and split
JITTER = 4  # standard deviation of each corner; 5 costs fashion_ffnn 2 % of accuracy
CLOTH = 200  # grey level of shade 1
SEAM, SHADOW, PRINT, SOLE = (0.6, 1), (0.4, 0.8), (0.3, 1.27), (0.5, 1.27)
THIN, LINE, BAND = (0.6, 0.8), (0.6, 1.2), (1, 2.6)
SHOES = (5, 7, 9)

# For each class, in FashionMNIST's order, one or two variants.
GARMENTS: list[list[list[Part]]] = [
    [  # T-shirt
        [Part("0,-80 20,-95 52,-82 78,-50 58,-34 43,-42 44,83 0,85"),
         Part("17,-25 17,8", PRINT, share=0.35)],
    ],
    [  # trouser
        [Part("0,-95 32,-95 40,-40 40,91 20,91 5,-25 0,-35"),
         Part("0,-84 32,-84", SHADOW, THIN),
         Part("0,-84 0,-35", SHADOW, THIN)],
    ],
    [  # pullover
        [Part("0,-87 20,-95 52,-82 98,48 82,54 43,-41 42,72 0,74"),
         Part("43,-41 42,45", SHADOW, LINE),
         Part("0,62 42,62", SEAM, LINE),
         Part("0,-80 20,-93", SEAM, THIN)],
    ],
    [  # dress: straight; flared, with sleeves
        [Part("0,-75 13,-97 25,-92 30,-55 23,-22 29,35 32,95 0,97"),
         Part("0,-22 23,-22", PRINT, LINE, 0.5)],
        [Part("0,-80 13,-97 25,-92 46,-52 37,-38 30,-52 24,-22 34,35 48,95 0,97"),
         Part("0,-22 24,-22", PRINT, LINE, 0.5),
         Part("9,-22 22,95", SHADOW, THIN, 0.5)],
    ],
    [  # coat
        [Part("0,-85 20,-95 52,-82 98,56 82,62 43,-41 47,90 0,90"),
         Part("43,-41 45,50", SHADOW, LINE),
         Part("20,-93 18,-68 0,-50", SEAM, THIN),
         Part("0,-85 0,90", SHADOW, LINE),
         Part("17,40 36,33", SHADOW, THIN, 0.6)],
    ],
    [  # sandal: flat; on a heel
        [Part("-93,50 90,50 92,60 -90,60"),
         Part("-80,50 -72,24 -52,14 -33,24 -25,50", SEAM, BAND),
         Part("-50,50 -42,24 -22,14 -3,24 5,50", SEAM, BAND, 0.6),
         Part("30,50 40,20 60,10 80,20 88,50", SEAM, BAND, 0.75)],
        [Part("-93,53 -40,53 15,35 90,0 92,10 15,45 -40,63 -90,63"),
         Part("90,0 92,66 80,66 60,20", SEAM),
         Part("-80,53 -72,26 -52,16 -33,26 -25,53", SEAM, BAND),
         Part("30,28 42,-30 60,-48 82,-40 90,0", SEAM, BAND, 0.75)],
    ],
    [  # shirt, cut closer than the others: long sleeves, or short ones like a T-shirt's
        [Part("0,-79 17,-95 45,-82 94,42 76,49 37,-41 37,79 0,87"),
         Part("37,-41 37,38", SHADOW, LINE),
         Part("0,-79 0,87", PRINT, LINE),
         Part("17,-93 16,-68 0,-70", SHADOW, THIN)],
        [Part("0,-79 17,-95 45,-82 74,-45 54,-28 37,-41 37,79 0,87"),
         Part("0,-79 0,87", PRINT, LINE),
         Part("17,-93 16,-68 0,-70", SHADOW, THIN)],
    ],
    [  # sneaker
        [Part("-95,35 -92,24 -80,16 -50,5 -5,-18 15,-24 40,-5 82,-16 93,35"),
         Part("-45,12 5,-10", PRINT, BAND),
         Part("10,38 40,-2", PRINT, BAND),
         Part("-96,35 95,35 93,48 -92,48", SOLE)],
    ],
    [  # bag
        [Part("0,-65 24,-58 34,-20", SEAM, BAND, 0.85),
         Part("0,-25 66,-25 72,-16 77,70 68,76 0,76"),
         Part("0,8 72,2", SHADOW, LINE, 0.7),
         Part("7,2 7,15", PRINT, share=0.4)],
    ],
    [  # ankle boot: low and flat; high, on a heel
        [Part("90,76 -20,76 -93,76 -93,60 -70,48 -25,32 -8,5 0,-32 83,-35"),
         Part("90,76 -20,76 -93,76 -90,87 90,87", SOLE),
         Part("42,-28 45,60", PRINT, LINE, 0.6)],
        [Part("90,58 30,64 -20,76 -93,76 -93,60 -70,48 -25,32 -8,5 0,-72 83,-74"),
         Part("90,58 30,64 -20,76 -93,76 -90,86 -20,86 35,76 58,86 90,86", SOLE),
         Part("-10,0 82,-10", PRINT, BAND, 0.4)],
    ],
]  # fmt: skip


def synthetic_images(kind: str, split: str) -> tuple[Tensor, Tensor]:
    """Makes one split; every call gives the same images, whatever the global seeds.

    Args:
        kind: "digits" or "garments".
        split: "train" (12,000 images) or "test" (2,000).

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
    seed = 2 * KINDS.index(kind) + list(SIZES).index(split)
    generator = Generator().manual_seed(seed)
    if kind == "digits":
        finish, drawings = _ink, _characters("0123456789")
    else:
        finish, drawings = _cloth, _garments(Random(seed))
    index = torch.arange(SIZES[split]) % len(drawings)
    index = index[torch.randperm(len(index), generator=generator)]
    # By the thousand: less memory, and faster.
    images = torch.cat([finish(drawings[part], generator) for part in index.split(1000)])
    return images, index * 10 // len(drawings)


def synthetic_letters(count: int = 2_400) -> tuple[Tensor, Tensor]:
    """Makes capital letters, drawn and bent as the digits are; every call gives the same ones.

    Returns:
        uint8 images (N, 1, 28, 28) and int64 places in `LETTERS` (N,).
    """
    generator = Generator().manual_seed(2 * len(KINDS))
    index = torch.randint(len(LETTERS) * len(FONTS), (count,), generator=generator)
    return _ink(_characters(LETTERS)[index], generator), index // len(FONTS)


def _characters(characters: str) -> Tensor:
    """Each character in each font: uint8 (characters * 20, 1, 28, 28)."""
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    fonts = [ImageFont.truetype(str(folder / f"{name}.ttf"), DIGIT_SIZE) for name in FONTS]
    return torch.stack([_character(one, font) for one in characters for font in fonts])


def _garments(rng: Random) -> Tensor:
    """Each garment in 200 cuts: uint8 (2000, 1, 28, 28)."""
    return torch.stack([_garment(label, rng) for label in range(10) for _ in range(CUTS)])


def _character(character: str, font: ImageFont.FreeTypeFont) -> Tensor:
    image = _canvas()
    left, top, right, bottom = font.getbbox(character)
    corner = ((image.width - left - right) / 2, (image.height - top - bottom) / 2)
    ImageDraw.Draw(image).text(corner, character, fill=255, font=font)
    return _to_tensor(image)


def _garment(garment: int, rng: Random) -> Tensor:
    """One of the variants, each corner moved by chance; what parts share stays joined."""
    image = _canvas()
    pen = ImageDraw.Draw(image)
    corners: dict[str, tuple[float, float]] = {}
    for part in rng.choice(GARMENTS[garment]):
        for corner in part.points.split():
            if corner not in corners:
                x, y = (int(number) for number in corner.split(","))
                corners[corner] = (x and x + rng.gauss(0, JITTER), y + rng.gauss(0, JITTER))
        if rng.random() >= part.share:
            continue
        half = [corners[corner] for corner in part.points.split()]
        halves = [half] if garment in SHOES else [half, [(-x, y) for x, y in reversed(half)]]
        halves = [[(_pixel(x), _pixel(y)) for x, y in points] for points in halves]
        fill = round(CLOTH * rng.uniform(*part.shade))
        if part.width is None:
            pen.polygon([point for half in halves for point in half], fill)
        else:
            width = round(SCALE * rng.uniform(*part.width))
            for half in halves:
                pen.line(half, fill, width, joint="curve")
    return _to_tensor(image)


def _pixel(coordinate: float) -> float:
    return (coordinate + 100) * SIDE * SCALE / 200


def _canvas() -> Image.Image:
    return Image.new("L", (SIDE * SCALE, SIDE * SCALE))


def _to_tensor(image: Image.Image) -> Tensor:
    """Reduces a drawing to uint8 (1, 28, 28)."""
    pixels = bytearray(image.reduce(SCALE).tobytes())
    return torch.frombuffer(pixels, dtype=torch.uint8).view(1, SIDE, SIDE)


def _ink(x: Tensor, generator: Generator) -> Tensor:
    """Bends each digit like handwriting, with uneven pressure."""
    bend = RandomDistortion(degrees=12, scale=0.18, shear=0.25, shift=0.06, alpha=0.9, sigma=4)
    x = bend(x, generator)
    x *= _uniform(x, 0.65, 1, generator)
    x *= (1 + 0.25 * _clouds(x, 5, generator)).clamp_(0.1, 1.3)
    return _to_bytes(x, 0.12, generator)


def _cloth(x: Tensor, generator: Generator) -> Tensor:
    """Gives each garment a pose and a cloth: brightness, shadows, folds, stripes for a third."""
    pose = RandomDistortion(degrees=5, scale=0.12, shear=0.08, shift=0.04, alpha=0.5, sigma=4)
    x = pose(x, generator) * (255 / CLOTH)
    cloth = 1 + 0.1 * _clouds(x, 2, generator)
    cloth += _uniform(x, 0.03, 0.2, generator) * _clouds(x, 7, generator)
    along = torch.linspace(-1, 1, SIDE, dtype=x.dtype)
    pitch, angle = _uniform(x, 6, 22, generator), _uniform(x, 0, math.pi, generator)
    phase = pitch * (angle.cos() * along + angle.sin() * along[:, None])
    phase += _uniform(x, 0, 2 * math.pi, generator)
    striped = _uniform(x, 0, 1, generator) < 0.33
    cloth += striped * _uniform(x, 0.1, 0.45, generator) * phase.cos()
    x *= cloth.clamp_min_(0.1) * _uniform(x, 0.35, 0.95, generator)
    return _to_bytes(x, 0.06, generator)


def _uniform(x: Tensor, low: float, high: float, generator: Generator) -> Tensor:
    """One number for each image, (N, 1, 1, 1)."""
    number = torch.rand(len(x), 1, 1, 1, generator=generator, dtype=x.dtype)
    return number * (high - low) + low


def _clouds(x: Tensor, cells: int, generator: Generator) -> Tensor:
    """A smooth random field for each image, (N, 1, 28, 28): `cells` bumps across."""
    coarse = torch.randn(len(x), 1, cells, cells, generator=generator, dtype=x.dtype)
    return F.interpolate(coarse, SIDE, mode="bilinear", align_corners=True)


def _to_bytes(x: Tensor, noise: float, generator: Generator) -> Tensor:
    """Adds noise, of a strength up to `noise` in each image, and turns 0-1 into uint8."""
    grain = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    x += grain * _uniform(x, 0, noise, generator)
    return x.mul_(255).round_().clamp_(0, 255).byte()
