"""Pictures that are no digits and no garments: letters in ten fonts, dark on light, RGB."""

from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "STIXGeneral",
    "cmr10",
)


def write_letters(folder: Path, letters: str, each: int, seed: int = 0) -> Path:
    """Write pictures of letters, a folder for each, of mixed sizes, colours and formats.

    Fonts, sizes (40 to 90 pixels), tilt (up to 8 degrees) and place are drawn.
    """
    rng = np.random.default_rng(seed)
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for letter in letters:
        (folder / letter).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            font = str(fonts / f"{FONTS[number % len(FONTS)]}.ttf")
            picture = letter_picture(letter, font, rng)
            picture.save(folder / letter / f"{number:03d}.{('png', 'jpg', 'bmp')[number % 3]}")
    return folder


def letter_picture(letter: str, font: str, rng: np.random.Generator) -> Image.Image:
    """Return one letter as an RGB picture, dark on light."""
    width, height = (int(side) for side in rng.integers(40, 91, 2))
    paper = tuple(int(v) for v in rng.integers(200, 256, 3))
    pen = tuple(int(v) for v in rng.integers(0, 110, 3))
    picture = Image.new("RGB", (width, height), paper)
    size = int(min(width, height) * rng.uniform(0.55, 0.85))
    shift = rng.uniform(-0.08, 0.08, 2) * (width, height)
    middle = width / 2 + shift[0], height / 2 + shift[1]
    ImageDraw.Draw(picture).text(middle, letter, pen, ImageFont.truetype(font, size), anchor="mm")
    return picture.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC, fillcolor=paper)
