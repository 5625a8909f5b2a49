"""One picture file as grey or RGB bytes: refused by its header, or decoded whatever its mode."""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from datamodules.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
# 20,000 x 20,000 would take 1.2 GB decoded; the largest cameras for sale have 150 million pixels.
MOST_PIXELS = 160_000_000
# What a damaged file makes Pillow raise, besides its own errors.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error)
GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")


class UnreadableImageError(UserError):
    """A file is no picture, or none that can be shown to a network."""


def read_bytes(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        UnreadableImageError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(f"'{path}' cannot be read: {error.strerror}.") from error


def open_header(source: bytes | Path, name: str) -> Image.Image:
    """Return a picture of which only the header was read.

    Args:
        source: The file, or its content.
        name: What it is called in messages.

    Raises:
        UnreadableImageError: If it is no picture, has no pixels or too many, or is animated.
    """
    try:
        if not (source if isinstance(source, bytes) else source.stat().st_size):
            raise UnreadableImageError(f"'{name}' is empty.")
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        frames = getattr(image, "n_frames", 1)
    except UnidentifiedImageError as error:
        raise UnreadableImageError(f"'{name}' is no picture.") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(
            f"'{name}' has more than {MOST_PIXELS // 10**6} million pixels; make it smaller."
        ) from error
    except DAMAGED as error:
        raise _damaged(name, error) from error
    width, height = image.size
    if width < 1 or height < 1:
        raise UnreadableImageError(f"'{name}' has no pixels: it is {width} x {height}.")
    if width * height > MOST_PIXELS:
        raise UnreadableImageError(
            f"'{name}' is {width:,} x {height:,} pixels, more than {MOST_PIXELS // 10**6} million; "
            "make it smaller."
        )
    if frames > 1 and image.format != "MPO":  # which is how phones write a JPEG with a preview
        raise UnreadableImageError(
            f"'{name}' has {frames} frames or pages; save the one that is meant as a picture."
        )
    return image


def decode(content: bytes, name: str) -> Image.Image:
    """Return a picture upright, in mode L (grey) or RGB.

    Sixteen bits become eight, a palette becomes colours. What is transparent becomes white, or
    black behind something light.

    Raises:
        UnreadableImageError: If it cannot be decoded.
    """
    return upright(open_header(content, name), name)


def upright(image: Image.Image, name: str) -> Image.Image:
    """Return an open picture, decoded as `decode` does it."""
    try:
        image.load()
        return _plain(ImageOps.exif_transpose(image))
    except DAMAGED as error:
        raise _damaged(name, error) from error


def as_image(pixels: np.ndarray) -> Image.Image:
    """Return an array (H, W), (H, W, 3), (1, H, W) or (3, H, W) of bytes as a picture."""
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    return Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8))


def _plain(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _scaled(np.asarray(image, dtype=np.float64), image.mode == "F")
    if image.has_transparency_data:
        return _on_background(image.convert("RGBA"), grey=image.mode in GREY_MODES)
    return image.convert("L" if image.mode in GREY_MODES else "RGB")


def _scaled(values: np.ndarray, is_float: bool) -> Image.Image:
    """Scale whole numbers of 16 bits, or floats from 0 to 1, to bytes: Pillow cuts them off."""
    top = values.max(initial=0.0)
    if not np.isfinite(top) or values.min() < 0:
        raise ValueError("it holds negative or infinite values")
    full = max(top, 65535.0)
    if is_float and top <= 255:
        full = 1.0 if top <= 1 else 255.0
    return Image.fromarray((values * (255 / full)).round().astype(np.uint8))


def _on_background(image: Image.Image, grey: bool) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float32)
    alpha = pixels[..., 3:] / 255
    opaque = alpha.sum()
    brightness = (pixels[..., :3].mean(-1, keepdims=True) * alpha).sum() / opaque if opaque else 0
    under = 0.0 if brightness > 127 and opaque < alpha.size else 255.0
    blended = (pixels[..., :3] * alpha + under * (1 - alpha)).round().astype(np.uint8)
    return Image.fromarray(blended).convert("L" if grey else "RGB")


def _damaged(name: str, error: BaseException) -> UnreadableImageError:
    if isinstance(error, OSError) and error.errno is not None:
        return UnreadableImageError(f"'{name}' cannot be read: {error.strerror}.")
    why = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return UnreadableImageError(f"'{name}' is a damaged picture: {why}.")
