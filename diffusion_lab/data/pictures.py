"""One picture, whatever its file holds: grey, coloured, 16 bits deep, transparent, or turned by the camera."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np

from diffusion_lab.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif")
KIN = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf")
"""Pictures too, which Pillow alone does not read."""
UNSCALED = ("F", "I")
"""Pillow's modes for numbers of 32 bits, of which no file says how dark or bright they are."""


class Picture(NamedTuple):
    """A picture as it was read."""

    pixels: np.ndarray
    """uint8 (side, side, 3)."""
    size: tuple[int, int]
    """Width and height in the file, upright."""
    on_white: bool
    """Whether parts of it were transparent, and are white now."""


def read_picture(content: bytes, side: int, name: str) -> Picture:
    """Cut the middle square out of a picture and resize it, the way up in which a viewer shows it.

    16-bit grey keeps its whole range, scaled to 8 bits. What is transparent becomes white.

    Args:
        content: the file's bytes; `name` is what an error calls it.

    Raises:
        DataError: it is not an image, it is truncated, it is an animation, or its numbers have no known range
            (floating point, and whole numbers of 32 bits).
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            # A phone's JPEG may carry a second, smaller copy of the picture; that is no animation.
            if getattr(image, "is_animated", False) and image.format != "MPO":
                raise DataError(f"{name} holds {image.n_frames} pictures, and a file must hold one")
            image, on_white = _in_colour(ImageOps.exif_transpose(image), name)
    except UnidentifiedImageError as fault:
        raise DataError(f"{name} cannot be read as an image: it is not an image") from fault
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
        raise DataError(f"{name} cannot be read as an image: {fault}") from fault
    size = image.size
    if size != (side, side):
        short = min(size)
        left, top = (size[0] - short) // 2, (size[1] - short) // 2
        image = image.resize((side, side), Image.Resampling.BICUBIC, box=(left, top, left + short, top + short))
    return Picture(np.asarray(image), size, on_white)


def _in_colour(image, name: str):
    """The image in RGB, and whether some of it was transparent."""
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        # Pillow's own conversion cuts everything above 255 off.
        levels = np.asarray(image).astype(np.float64) / 257  # 65,535 becomes 255
        return Image.fromarray(levels.round().astype(np.uint8)).convert("RGB"), False
    if image.mode in UNSCALED:
        raise DataError(
            f"{name} has pixels of 32 bits (Pillow's mode {image.mode}), and nothing says which number is black and "
            "which is white; save it with 8 or 16 bits"
        )
    if not image.has_transparency_data:
        return image.convert("RGB"), False
    clear = image.convert("RGBA")
    seen = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return seen, clear.getextrema()[3][0] < 255
