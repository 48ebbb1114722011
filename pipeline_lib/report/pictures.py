"""Pictures inside the page: PNG as data URIs, small enough to be mailed with it."""

import base64
import io
import math

import numpy as np
from PIL import Image

SHEET_PIXELS = 1_600_000  # of all thumbnails together
SMALLEST, LARGEST = 12, 64  # px, side of a thumbnail
GREYS = 16  # levels of a thumbnail: a third of the bytes, and no visible difference at this size


def data_uri(images: np.ndarray, columns: int, side: int) -> str:
    """Return the uint8 images ``[N, H, W, C]`` as one PNG: a sheet of square tiles of ``side`` px, row by row."""
    rows = math.ceil(len(images) / columns)
    mode = "L" if images.shape[-1] == 1 else "RGB"
    sheet = Image.new(mode, (columns * side, rows * side))
    for index, image in enumerate(images):
        tile = Image.fromarray(image[..., 0] if mode == "L" else image)
        if tile.size != (side, side):
            tile = tile.resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(tile, (index % columns * side, index // columns * side))
    buffer = io.BytesIO()
    _few_colours(sheet).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def tile_side(count: int, size: int) -> int:
    """Return the side in px of each of ``count`` thumbnails of images of ``size`` px."""
    fitting = math.isqrt(SHEET_PIXELS // max(count, 1))
    return min(size, LARGEST, max(SMALLEST, fitting))


def _few_colours(sheet: Image.Image) -> Image.Image:
    if sheet.mode == "RGB":
        return sheet.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    levels = np.rint(np.asarray(sheet) / 255 * (GREYS - 1)).astype(np.uint8)
    indexed = Image.fromarray(levels, mode="P")
    indexed.putpalette([round(level * 255 / (GREYS - 1)) for level in range(GREYS) for _ in range(3)])
    return indexed
