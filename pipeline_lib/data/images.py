"""From encoded bytes to one common frame: every mode and size of picture becomes uint8 [H, W, C]."""

import io
import math
import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

try:
    import simplejpeg
except ImportError:  # it only saves time
    simplejpeg = None

# Only these are tried: Pillow knows formats that start other programs, whatever a file's name says it is.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")
SUFFIXES = {
    ".apng", ".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
}  # fmt: skip
# Those that their first bytes tell beyond doubt: a text may begin with BM or P1.
TOLD_BY_CONTENT = ("AVIF", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP")
HEAD_BYTES = 16  # that tell them

# Of damaged and of very large pictures, which are refused here or read; once, since threads share what is ignored.
warnings.filterwarnings("ignore", module=r"PIL\.")


JPEG_BEGINS = b"\xff\xd8\xff"
# How a JPEG keeps its colours, and how they are asked for; and the longest side (px) of what is decoded quickly.
QUICK_COLOURS, MOST_QUICK = {"YCbCr": "RGB", "Gray": "GRAY"}, 4096


class BrokenImageError(Exception):
    """A picture that cannot be used, with the reason."""


def decode(content: bytes | Image.Image, enough: int | None = None) -> Image.Image:
    """Decode the whole of a picture (the first frame of several), upright by its EXIF orientation.

    Where no more than ``enough`` px of the longer side are needed, a JPEG of many more is decoded to a smaller size, of
    at least twice as many; ``info["size"]`` is then what it was.

    Raises BrokenImageError with a short reason for anything that is not a whole picture, or that claims more
    pixels than Pillow's ``Image.MAX_IMAGE_PIXELS``: a small file can claim to be a picture that fills the memory.
    """
    if isinstance(content, Image.Image):
        return content
    if not content:
        raise BrokenImageError("empty file")
    if simplejpeg is not None and content[:3] == JPEG_BEGINS and (picture := _quickly(content, enough)) is not None:
        return picture
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        width, height = picture.size
        if width * height > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise Image.DecompressionBombError
        if enough is not None and picture.format in ("JPEG", "MPO") and max(width, height) > 2 * enough:
            scale = 2 * enough / max(width, height)
            picture.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))
        drafted = picture.size != (width, height)
        picture.load()
        upright = picture.size
        ImageOps.exif_transpose(picture, in_place=True)
    except Image.DecompressionBombError:
        raise BrokenImageError(f"more than {Image.MAX_IMAGE_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise BrokenImageError(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from None
    except Exception:  # corrupt bytes make Pillow's decoders raise nearly anything
        raise BrokenImageError("truncated or corrupt") from None
    if drafted:
        picture.info["size"] = (width, height) if picture.size == upright else (height, width)
    return picture


def _quickly(content: bytes, enough: int | None) -> Image.Image | None:
    """Decode a plain JPEG to the same pixels in a fraction of the time; return None for what is left to Pillow.

    That is whatever may have to be turned, made smaller or refused. Of a small JPEG, Pillow takes longer to read the
    header than to decode the rest.
    """
    if b"Exif" in content or b"Orientation" in content:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if colours not in QUICK_COLOURS or max(width, height) > min(2 * (enough or MOST_QUICK), MOST_QUICK):
            return None
        pixels = simplejpeg.decode_jpeg(content, QUICK_COLOURS[colours])
    except ValueError:
        return None
    return Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)


def is_image(head: bytes) -> bool:
    """Say whether a file with these first bytes, ``HEAD_BYTES`` of them, is an image of a format read here."""
    Image.init()
    accept = {name: Image.OPEN[name][1] for name in TOLD_BY_CONTENT}
    # Pillow says True, or in words what it lacks to read the format.
    return any(tells is not None and tells(head) is True for tells in accept.values())


def to_uint8(picture: Image.Image, channels: int, background: int) -> Image.Image:
    """Convert a picture of any mode to "L" (1 channel) or "RGB" (3 channels).

    16-bit greys are scaled from 0-65535 to 0-255, 32-bit ones (integers and floats) from their own smallest and
    largest value; transparency is composited on a grey of the value ``background`` (0-255).
    Raises BrokenImageError for a mode that has no such conversion.
    """
    mode = "L" if channels == 1 else "RGB"
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _scaled(picture)
    try:
        if picture.has_transparency_data:
            ground = Image.new("RGBA", picture.size, (background, background, background, 255))
            picture = Image.alpha_composite(ground, picture.convert("RGBA"))
        return picture if picture.mode == mode else picture.convert("RGB").convert(mode)
    except ValueError:
        raise BrokenImageError(f"the mode {picture.mode} has no conversion to {mode}") from None


def frame(
    picture: Image.Image,
    size: int,
    channels: int,
    content: int,
    background: int,
    invert: bool,
    levels: Sequence[int] = (0, 255),
) -> np.ndarray:
    """Resize the longer side to ``content`` px and centre the picture in a frame of ``size`` px.

    Resizing filters over the whole area (no aliasing). ``invert`` turns light into dark; ``background`` (0-255)
    is what fills the frame and shows through transparency, whatever the other settings. ``levels`` are the two
    values that become 0 and 255 after resizing, with what lies between stretched and what lies outside cut off.
    Returns uint8 ``[size, size, channels]``; raises BrokenImageError as :func:`to_uint8` does.
    """
    low, high = levels
    # What invert and levels turn into the background.
    ground = round(low + background * (high - low) / 255)
    picture = to_uint8(picture, channels, 255 - ground if invert else ground)
    if invert:
        picture = ImageOps.invert(picture)
    scale = content / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    if (low, high) != (0, 255):
        picture = picture.point(_stretched(low, high) * channels)
    if (width, height) == (size, size):
        return np.array(picture).reshape(size, size, channels)
    framed = np.full((size, size, channels), background, dtype=np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    framed[top : top + height, left : left + width] = np.asarray(picture).reshape(height, width, channels)
    return framed


@cache
def _stretched(low: int, high: int) -> list[int]:
    return [round(min(max((value - low) / (high - low), 0), 1) * 255) for value in range(256)]


def _scaled(picture: Image.Image) -> Image.Image:
    grey = np.asarray(picture, dtype=np.float64)
    low, high = 0.0, 65535.0
    if picture.mode in ("I", "F"):
        finite = grey[np.isfinite(grey)]
        if not len(finite):
            raise BrokenImageError("no finite value")
        low, high = finite.min(), finite.max()
    shares = (np.nan_to_num(grey, nan=low, posinf=high, neginf=low) - low) / max(high - low, np.finfo(np.float64).tiny)
    return Image.fromarray(np.rint(shares * 255).clip(0, 255).astype(np.uint8))
