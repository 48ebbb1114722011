"""A small picture of the map: the target's images in two dimensions, coloured by a label."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from pipeline_lib.data.roles import Role

SIZE = 560  # px, height and width of the map
LEGEND = 200  # px, width of the legend beside it
ZOOM = 2  # drawn so much larger, then shrunk, for smooth edges
MOST_NAMES = 20
Colour = tuple[int, int, int]
OTHER: Colour = (190, 190, 190)
COLOURS: tuple[Colour, ...] = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
    (140, 86, 75), (227, 119, 194), (23, 190, 207), (188, 189, 34), (70, 70, 70),
)  # fmt: skip
LOW, HIGH = COLOURS[0], COLOURS[1]  # of a number, with all that is between


def draw_map(projection_file: Path, target: Role, label: str | None) -> bytes:
    """Draw the UMAP of the last representation in ``projection_file``, coloured by ``label`` of the target.

    The last representation is the one that is handed on. Images without the label are grey. Returns a PNG of
    less than 200 kB.
    """
    points = pd.read_parquet(projection_file)
    points = points[points["method"] == "umap"]
    representation = points["representation"].iloc[-1]
    points = points[points["representation"] == representation]
    values = pd.Series(target.label(label), index=target.table["id"]) if label else pd.Series(dtype=object)
    colours, legend = _colours(points["id"].map(values))

    canvas = Image.new("RGB", ((SIZE + LEGEND) * ZOOM, SIZE * ZOOM), "white")
    draw = ImageDraw.Draw(canvas)
    radius = 3 * ZOOM
    for (x, y), colour in zip(_fit(points[["x", "y"]].to_numpy(float)), colours, strict=True):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    _draw_legend(draw, f"UMAP, {representation}", legend)

    small = canvas.resize((SIZE + LEGEND, SIZE), Image.Resampling.LANCZOS).quantize(64)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _colours(values: pd.Series) -> tuple[list[Colour], dict[str, Colour]]:
    """Return a colour for each of ``values``, and a legend: classes by their names, or a range of numbers."""
    known = values.dropna()
    if known.empty:
        return [OTHER] * len(values), {}
    if pd.api.types.is_float_dtype(values):
        low, high = float(known.min()), float(known.max())
        shares = (values - low) / max(high - low, 1e-12)
        return [OTHER if pd.isna(share) else _between(share) for share in shares], {
            f"{low:.4g}": LOW,
            f"{high:.4g}": HIGH,
        }
    names = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(sorted(known.unique()))}
    return [OTHER if pd.isna(name) else names[name] for name in values], names


def _between(share: float) -> Colour:
    red, green, blue = (round(low + share * (high - low)) for low, high in zip(LOW, HIGH, strict=True))
    return red, green, blue


def _fit(points: np.ndarray) -> np.ndarray:
    """Scale ``points`` [N, 2] to pixels of the map, y upwards, with a margin and without distortion."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = max(float((high - low).max()), 1e-12)
    centred = (points - (low + high) / 2) / span * [1, -1]
    return (centred * 0.94 + 0.5) * SIZE * ZOOM


def _draw_legend(draw: ImageDraw.ImageDraw, title: str, names: Mapping[str, Colour]) -> None:
    font = ImageFont.load_default(size=14 * ZOOM)
    left, line = (SIZE + 12) * ZOOM, 22 * ZOOM
    draw.text((left, line), title, fill="black", font=font)
    for row, (name, colour) in enumerate(list(names.items())[:MOST_NAMES], start=2):
        draw.ellipse((left, row * line + 4 * ZOOM, left + 10 * ZOOM, row * line + 14 * ZOOM), fill=colour)
        draw.text((left + 18 * ZOOM, row * line), name[:20], fill="black", font=font)
    if len(names) > MOST_NAMES:
        more = f"and {len(names) - MOST_NAMES} more"
        draw.text((left, (MOST_NAMES + 2) * line), more, fill="black", font=font)
