"""From encoded bytes to one common frame: every mode and size of picture becomes uint8 [H, W, C]."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Refused rather than decoded: a small file can claim to be a picture that fills the memory.
MAX_PIXELS = 100_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


class BrokenImageError(Exception):
    """A picture that cannot be decoded, with the reason."""


def decode(content: bytes | Image.Image) -> Image.Image:
    """Decode the whole of a picture (the first frame of several), upright by its EXIF orientation.

    Raises BrokenImageError with a short reason for anything that is not a whole picture.
    """
    if isinstance(content, Image.Image):
        return content
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content))
            picture.load()
            return ImageOps.exif_transpose(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BrokenImageError(f"more than {MAX_PIXELS:,} pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else "truncated or corrupt"
        raise BrokenImageError("empty file" if not content else reason) from None


def to_uint8(picture: Image.Image, channels: int, background: int) -> Image.Image:
    """Convert a picture of any mode to "L" (1 channel) or "RGB" (3 channels).

    16-bit and floating-point greys are scaled to 0-255 by their mode's range (floats by their own);
    transparency is composited on a grey of the value ``background`` (0-255).
    """
    mode = "L" if channels == 1 else "RGB"
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        grey = np.asarray(picture, dtype=np.float64)
        low, high = (0.0, 65535.0) if picture.mode != "F" else (grey.min(), max(grey.max(), grey.min() + 1e-9))
        picture = Image.fromarray(np.rint((grey - low) / (high - low) * 255).clip(0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, (background, background, background, 255))
        picture = Image.alpha_composite(ground, picture).convert("RGB")
    return picture if picture.mode == mode else picture.convert(mode)


def frame(picture: Image.Image, size: int, channels: int, content: int, background: int, invert: bool) -> np.ndarray:
    """Resize the longer side to ``content`` px and centre the picture in a frame of ``size`` px.

    Resizing filters over the whole area (no aliasing). ``background`` (0-255) fills the frame; ``invert``
    turns light into dark before framing. Returns uint8 ``[size, size, channels]``.
    """
    picture = to_uint8(picture, channels, background)
    if invert:
        picture = ImageOps.invert(picture)
    scale = content / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    framed = np.full((size, size, channels), background, dtype=np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    framed[top : top + height, left : left + width] = np.asarray(picture).reshape(height, width, channels)
    return framed
