"""What is drawn in a picture, and the picture cropped to it, as MNIST's digits were made.

It is the preprocessing of weights that need it, and the same for training, predicting and whatever
else reads a picture for them.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn import functional

from datamodules.errors import UserError
from datamodules.spec import DataSpec

#: `none` leaves the picture whole; `box` cuts off the empty margins; `mass` also scales what is
#: drawn to 20 / 28 of the frame and centres it by its mass.
Crop = Literal["none", "box", "mass"]
Polarity = Literal["keep", "light_on_dark", "dark_on_light"]

# A drawing is looked for in a copy of at most so many pixels in height or width.
WORKING_SIDE = 320
# Pixels whose contrast is at least this share of the strongest are drawn.
INK_SHARE = 0.4
# Of a border that varies less than this (of 255) the picture has one color behind the drawing.
EVEN_BORDER = 8.0
# Contrasts below this (of 255) are noise: nothing is drawn.
LEAST_CONTRAST = 20.0
# A part of less than this share of the largest part's mass is a speck.
SPECK_SHARE = 0.08
# Share of the frame that MNIST's digits are scaled to, and their strokes' width of the digit's
# height: 2.4 of 20 pixels. A pen's are thinner and would fade when made small.
MASS_SHARE, STROKE_SHARE = 20 / 28, 0.1


@dataclass(frozen=True)
class ImageReader:
    """Turns a picture into the pixels that a network reads.

    Args:
        shape: Channels (1 or 3), height and width.
        crop: Whether it is cropped to what is drawn.
        polarity: Whether a drawing that is dark on light is turned round, or the other way.
    """

    shape: tuple[int, int, int]
    crop: Crop = "none"
    polarity: Polarity = "keep"

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or self.shape[0] not in (1, 3):
            raise UserError(f"Pictures are read with 1 or 3 channels, not as {self.shape}.")

    @classmethod
    def of(cls, spec: DataSpec) -> Self:
        """Return the reader of a network, as its weights describe it."""
        spec.require("pixels")
        described = spec.preprocessing
        options = {k: described[k] for k in ("crop", "polarity") if k in described}
        return cls(spec.input_shape, **options)

    def plain(self) -> dict[str, Any]:
        """Return what weights say of it, beside the shape; nothing where pictures stay whole."""
        default = type(self)(self.shape)
        options = {"crop": self.crop, "polarity": self.polarity}
        return {k: v for k, v in options.items() if v != getattr(default, k)}

    def __call__(self, image: Image.Image) -> tuple[np.ndarray, str]:
        """Read one picture.

        Args:
            image: In mode L or RGB.

        Returns:
            (channels, height, width) uint8, and a few words on what was done.
        """
        channels, height, width = self.shape
        done = [f"{image.width} x {image.height} {'grey' if image.mode == 'L' else 'RGB'}"]
        mode = "L" if channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
            done.append(f"made {'grey' if channels == 1 else 'RGB'}")
        if self.crop == "none":
            image = self._turned(image, is_light_behind(image), done)
        else:
            found = find_drawing(image)
            if found is None:
                done.append("nothing drawn was found in it")
            else:
                image = self._to_drawing(image, found, done)
        if self.crop == "mass" and len(done) and "centred by mass" in done[-1]:
            pixels = np.asarray(image)
        else:
            pixels = np.asarray(fit(image, width, height))
            if image.size != (width, height):
                done.append(f"scaled to {width} x {height}")
        pixels = pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
        return pixels.copy(), ", ".join(done)

    def _to_drawing(self, image: Image.Image, found: "Drawing", done: list[str]) -> Image.Image:
        is_dark = found.is_dark
        turn = self.polarity == ("light_on_dark" if is_dark else "dark_on_light")
        _, height, width = self.shape
        if self.crop == "mass":
            placed = centred(found.ink, width, height)
            dark_result = is_dark != turn
            image = Image.fromarray(255 - placed if dark_result else placed).convert(image.mode)
            done += ["dark on light turned round"] if turn else []
            done.append(f"cropped to what is drawn, scaled to {width} x {height}, centred by mass")
            return image
        if self.crop == "box":
            left, top, right, bottom = found.box
            whole = (0, 0, *image.size)
            across, down = image.size
            corners = (left * across, top * down, right * across, bottom * down)
            box = tuple(round(corner) for corner in corners)
            if box != whole:
                image = image.crop(cast(tuple[int, int, int, int], box))
                done.append("cropped to what is drawn")
        return self._turned(image, is_dark, done)

    def _turned(self, image: Image.Image, is_dark: bool, done: list[str]) -> Image.Image:
        """Exchange light and dark where the network reads it the other way round."""
        if self.polarity != ("light_on_dark" if is_dark else "dark_on_light"):
            return image
        done.append("dark on light turned round" if is_dark else "light on dark turned round")
        return Image.fromarray(255 - np.asarray(image))


def is_light_behind(image: Image.Image) -> bool:
    """Tell whether most of the border is light: it is of none of FashionMNIST's garments.

    A picture that is not cropped may hold things that reach its border, so what stands out from it
    tells nothing: by that a twelfth of the garments were turned round.
    """
    grey = np.asarray(image.convert("L"))
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return bool(np.median(border) > 127)


@dataclass(frozen=True)
class Drawing:
    """What is drawn in a picture.

    Attributes:
        ink: (H, W) float from 0 (nothing) to 1, cut to the drawing.
        box: Left, top, right and bottom, as shares of the picture's width and height.
        is_dark: Whether it is darker than what is behind it.
    """

    ink: np.ndarray
    box: tuple[float, float, float, float]
    is_dark: bool


def find_drawing(image: Image.Image) -> Drawing | None:
    """Find what is drawn, on paper that may be unevenly lit; None if there is nothing.

    Parts that touch the border, such as the paper's edge, and specks do not belong to it if there
    is something else.
    """
    copy = image.convert("L")
    copy.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.BOX)
    grey = np.asarray(copy, dtype=np.float32)
    contrast = background(copy) - grey  # above zero where it is dark
    strongest = max(8, contrast.size // 300)
    dark, light = (np.sort(v, axis=None)[-strongest:].mean() for v in (contrast, -contrast))
    is_dark = bool(dark > light)
    ink, top = (contrast, dark) if is_dark else (-contrast, light)
    if top < LEAST_CONTRAST:
        return None
    mask = torch.from_numpy(ink > INK_SHARE * top)
    mask = _without_strangers(mask, torch.from_numpy(np.where(ink > 0, ink, 0)))
    rows, columns = (torch.where(mask.any(dim))[0] for dim in (1, 0))
    first, last = (int(rows[0]), int(columns[0])), (int(rows[-1]) + 1, int(columns[-1]) + 1)
    # Strokes fade out beyond the mask: those pixels belong to them.
    near = functional.max_pool2d(mask[None, None].float(), 3, 1, 1)[0, 0].numpy()
    level = float(np.quantile(ink[mask.numpy()], 0.6))
    drawn = np.clip(ink / level, 0, 1) * near
    drawn = drawn[first[0] : last[0], first[1] : last[1]]
    height, width = grey.shape
    box = (first[1] / width, first[0] / height, last[1] / width, last[0] / height)
    return Drawing(_with_full_strokes(drawn), box, is_dark)


def background(image: Image.Image) -> np.ndarray:
    """Return the brightness (H, W) behind what is drawn in a grey picture."""
    grey = np.asarray(image, dtype=np.float32)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    middle = np.median(border)
    if np.quantile(np.abs(border - middle), 0.9) < EVEN_BORDER:
        return np.full_like(grey, middle)
    small = image.copy()
    small.thumbnail((64, 64), Image.Resampling.BOX)
    side = min(small.size)
    behind = small.filter(ImageFilter.MedianFilter(max(3, side // 4 * 2 + 1)))
    values, smooth = (np.asarray(i, dtype=np.float32) for i in (small, behind))
    # Once more without what stands out, so that a shadow's edge is followed closely.
    deviation = np.abs(values - smooth)
    plain = (deviation < max(10.0, 0.25 * float(deviation.max()))).astype(np.float32)
    weight = _blurred(plain) + 1e-3
    smooth = (_blurred(values * plain) + 1e-3 * smooth) / weight
    resized = Image.fromarray(smooth).resize(image.size, Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32)


def _blurred(values: np.ndarray) -> np.ndarray:
    return functional.avg_pool2d(
        torch.from_numpy(values)[None, None], 7, 1, 3, count_include_pad=False
    )[0, 0].numpy()


def _without_strangers(mask: Tensor, ink: Tensor) -> Tensor:
    """Return the mask without the parts that touch the border, and without specks."""
    if max(mask.shape) > WORKING_SIDE // 2:  # at half the size parts are found four times as fast
        shape = tuple(mask.shape)
        halved = functional.max_pool2d(mask[None, None].float(), 2, ceil_mode=True)
        labels = _parts(halved[0, 0] > 0).repeat_interleave(2, 0).repeat_interleave(2, 1)
        labels = labels[: shape[0], : shape[1]] * mask
    else:
        labels = _parts(mask)
    mass = torch.zeros(int(labels.max()) + 1)
    mass.index_add_(0, labels.flatten().long(), ink.flatten().float() * mask.flatten())
    edge = torch.cat([labels[0], labels[-1], labels[:, 0], labels[:, -1]]).long().unique()
    inner = mass.clone()
    inner[edge] = 0
    if inner.max() >= SPECK_SHARE * mass.max() / 4:
        mass = inner
    kept = mass >= SPECK_SHARE * mass.max()
    kept[0] = False
    return kept[labels.long()]


def _parts(mask: Tensor) -> Tensor:
    """Return a number for each connected part of a mask (H, W), 0 for the rest."""
    inside = mask.float()
    labels = torch.arange(1.0, mask.numel() + 1).reshape(mask.shape) * inside
    while True:
        before = labels
        for _ in range(8):
            labels = functional.max_pool2d(labels[None, None], 3, 1, 1)[0, 0] * inside
        if torch.equal(labels, before):
            numbers = labels.unique()
            return torch.searchsorted(numbers, labels) + (0 if numbers[0] == 0 else 1)


def _with_full_strokes(ink: np.ndarray) -> np.ndarray:
    """Widen strokes that are thin for the size of the drawing."""
    drawn = ink > 0.5
    padded = np.pad(drawn, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & drawn
    edge = int(drawn.sum() - inner.sum())
    if not edge:
        return ink
    stroke = 2 * drawn.sum() / max(edge, 1)
    missing = STROKE_SHARE * max(ink.shape) - stroke
    radius = int(missing / 2)
    if radius < 1:
        return ink
    wide = functional.pad(torch.from_numpy(ink)[None, None], (radius,) * 4)
    return functional.max_pool2d(wide, 2 * radius + 1, 1, radius)[0, 0].numpy()


def centred(ink: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale a drawing to 20 / 28 of a frame and put its centre of mass into the middle.

    Args:
        ink: (H, W) from 0 to 1.
        width: Of the frame.
        height: Of the frame.

    Returns:
        (height, width) uint8, light on dark.
    """
    scale = MASS_SHARE * min(width / ink.shape[1], height / ink.shape[0])
    size = tuple(max(1, round(side * scale)) for side in ink.shape[::-1])
    small = Image.fromarray((ink * 255).astype(np.float32)).resize(size, Image.Resampling.BOX)
    values = np.clip(np.asarray(small), 0, 255)
    values = values * (255 / max(float(values.max()), 1.0))
    total = max(float(values.sum()), 1e-6)
    middle = [
        float((values.sum(1 - axis) * np.arange(n)).sum()) / total + 0.5
        for axis, n in enumerate(values.shape)
    ]
    frame = np.zeros((height, width), dtype=np.uint8)
    tops = []
    for centre, side, whole in zip(middle, values.shape, frame.shape, strict=True):
        tops.append(int(np.clip(round(whole / 2 - centre), 0, whole - side)))
    rows, columns = (slice(t, t + side) for t, side in zip(tops, values.shape, strict=True))
    frame[rows, columns] = values.round().astype(np.uint8)
    return frame


def fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale a picture into a frame, whole and in its proportions; its border's color around it."""
    if image.size == (width, height):
        return image
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    if size == (width, height):
        return small
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    color = np.median(border, axis=0).astype(int)
    behind = tuple(color.tolist()) if image.mode == "RGB" else int(color)
    frame = Image.new(image.mode, (width, height), behind)
    frame.paste(small, ((width - size[0]) // 2, (height - size[1]) // 2))
    return frame
