"""A small picture of the map: the target's images in two dimensions, coloured by class."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from pipeline_lib.data.dataset import present_labels, read_dataset

SIZE = 560  # px, height and width of the map
LEGEND = 200  # px, width of the legend beside it
ZOOM = 2  # drawn so much larger, then shrunk, for smooth edges
MOST_NAMES = 20
OTHER = (190, 190, 190)
COLOURS = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189),
    (140, 86, 75), (227, 119, 194), (23, 190, 207), (188, 189, 34), (70, 70, 70),
)  # fmt: skip


def draw_map(projection_file: Path, target_folder: Path, label: str) -> bytes:
    """Draw the UMAP of the last representation in ``projection_file``, coloured by ``label`` of the target.

    The last representation is the one that is handed on. Images without the label are grey. Returns a PNG of
    less than 200 kB.
    """
    points = pd.read_parquet(projection_file)
    points = points[points["method"] == "umap"]
    representation = points["representation"].iloc[-1]
    points = points[points["representation"] == representation]
    present = present_labels(target_folder, [label])
    target = read_dataset(target_folder, present)
    classes = target.card["labels"][label]["classes"] if present else []
    labels = pd.Series(target.label(label) if present else None, index=target.table["id"], dtype="string")
    names = points["id"].map(labels)
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(classes)}

    canvas = Image.new("RGB", ((SIZE + LEGEND) * ZOOM, SIZE * ZOOM), "white")
    draw = ImageDraw.Draw(canvas)
    radius = 3 * ZOOM
    for (x, y), name in zip(_fit(points[["x", "y"]].to_numpy(float)), names, strict=True):
        colour = OTHER if pd.isna(name) else colours[name]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    _draw_legend(draw, f"UMAP, {representation}", {name: colours[name] for name in classes[:MOST_NAMES]}, len(classes))

    small = canvas.resize((SIZE + LEGEND, SIZE), Image.Resampling.LANCZOS).quantize(64)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _fit(points: np.ndarray) -> np.ndarray:
    """Scale ``points`` [N, 2] to pixels of the map, y upwards, with a margin and without distortion."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = max(float((high - low).max()), 1e-12)
    centred = (points - (low + high) / 2) / span * [1, -1]
    return (centred * 0.94 + 0.5) * SIZE * ZOOM


def _draw_legend(
    draw: ImageDraw.ImageDraw, title: str, shown: dict[str, tuple[int, int, int]], num_classes: int
) -> None:
    font = ImageFont.load_default(size=14 * ZOOM)
    left, line = (SIZE + 12) * ZOOM, 22 * ZOOM
    draw.text((left, line), title, fill="black", font=font)
    for row, (name, colour) in enumerate(shown.items(), start=2):
        draw.ellipse((left, row * line + 4 * ZOOM, left + 10 * ZOOM, row * line + 14 * ZOOM), fill=colour)
        draw.text((left + 18 * ZOOM, row * line), name[:20], fill="black", font=font)
    if num_classes > len(shown):
        draw.text((left, (len(shown) + 2) * line), f"and {num_classes - len(shown)} more", fill="black", font=font)
