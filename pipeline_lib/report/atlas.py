"""What the map of the target needs: points of every projection, classes, colours and one sheet of thumbnails."""

import colorsys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.rows import Images
from pipeline_lib.labels.order import natural_key
from pipeline_lib.report.pictures import data_uri, tile_side

GRID = 4095  # positions are whole numbers from 0 to this
SHEET_COLUMNS = 50
# Ten hues that differ in lightness too and stand out on white and on black (after Observable's scheme).
TEN = ("#4269d0", "#e8a800", "#f4624f", "#53b8a5", "#3ca951", "#ff8ab7", "#a463f2", "#8fb4f0", "#9c6b4e", "#8f949d")
GOLDEN = 0.618034
MOST_COLOURS = 40  # classes with a colour and a place in the legend
# From few to much, for numbers: dark blue over green to yellow (after viridis).
RAMP = ((0.0, (70, 50, 127)), (0.33, (39, 127, 142)), (0.67, (84, 184, 96)), (1.0, (232, 200, 32)))


def atlas(
    layouts: pd.DataFrame,
    images: Images | np.ndarray,
    ids: Sequence[str],
    paths: Sequence[str],
    truth: Sequence[str | None],
    predicted: Mapping[str, str],
    *,
    classes: Sequence[str],
    limit: int,
    seed: int,
) -> dict[str, Any] | None:
    """Return the map as plain values for JSON, or None where nothing was projected.

    ``layouts`` is long (id, representation, method, x, y); ``images`` is uint8 ``[N, H, W, C]``, its rows named by
    ``ids`` and ``paths``. ``truth`` has the class of each row or None, ``predicted`` the predicted class by id. At most
    ``limit`` images, drawn at random, are shown. A class is its index in ``classes``; -1 is "none". Of many classes,
    the MOST_COLOURS most frequent come first and have a colour.
    """
    row_of = {name: row for row, name in enumerate(ids)}
    known = [name for name in layouts["id"].drop_duplicates() if name in row_of]
    if not known:
        return None
    draw = np.random.default_rng(derive_seed(seed, "report", "thumbnails"))
    chosen = sorted(draw.choice(len(known), min(limit, len(known)), replace=False))
    shown = [known[index] for index in chosen]
    rows = [row_of[name] for name in shown]
    seen = {*(truth[row] for row in rows), *(predicted.get(name) for name in shown)} - {None}
    names = [*classes, *sorted((str(name) for name in seen - set(classes)), key=natural_key)]
    names = _frequent_first(names, [truth[row] or predicted.get(name) for row, name in zip(rows, shown, strict=True)])
    number = {name: index for index, name in enumerate(names)}
    side = tile_side(len(rows), images.shape[1])
    true_class = [number.get(truth[row] or "", -1) for row in rows]
    return {
        "ids": shown,
        "paths": [paths[row] for row in rows],
        "classes": names,
        "counts": [true_class.count(index) for index in range(len(names))],
        "colours": colours(min(len(names), MOST_COLOURS)),
        "truth": true_class,
        "predicted": [number.get(predicted.get(name, ""), -1) for name in shown],
        "total": len(ids),
        "layouts": _aligned(layouts, shown),
        "side": side,
        "columns": SHEET_COLUMNS,
        "sheet": data_uri(np.asarray(images[np.array(rows)]), SHEET_COLUMNS, side),
    }


def colours(count: int) -> list[str]:
    """Return ``count`` colours as #rrggbb: the ten of the scheme, or as many hues in two lightnesses as it takes."""
    if count <= len(TEN):
        return list(TEN[:count])
    shades = [colorsys.hls_to_rgb(index * GOLDEN % 1, (0.42, 0.62)[index % 2], 0.62) for index in range(count)]
    return ["#" + "".join(f"{round(255 * part):02x}" for part in shade) for shade in shades]


def ramp(count: int) -> list[str]:
    """Return ``count`` colours as #rrggbb that run from dark to light, for values in order."""
    at = np.linspace(0, 1, count) if count > 1 else np.array([0.5])
    stops, colours_3 = [stop for stop, _ in RAMP], np.array([colour for _, colour in RAMP])
    parts = np.rint([np.interp(at, stops, colours_3[:, channel]) for channel in range(3)]).astype(int)
    return ["#" + "".join(f"{part:02x}" for part in colour) for colour in parts.T]


def _frequent_first(names: list[str], shown: Sequence[str | None]) -> list[str]:
    """Return few names as they are; of many, the most frequent come first, in their old order."""
    if len(names) <= MOST_COLOURS:
        return names
    counts = Counter(shown)
    kept = set(sorted(names, key=lambda name: -counts[name])[:MOST_COLOURS])
    return [*(name for name in names if name in kept), *(name for name in names if name not in kept)]


def _aligned(layouts: pd.DataFrame, shown: list[str]) -> list[dict[str, Any]]:
    """Turn and mirror every layout (its axes mean nothing) to lie as near as it can to the last one.

    So a picture moves on the screen only as far as its neighbourhood changed. Orthogonal Procrustes (Schonemann 1966).
    """
    points: dict[tuple[str, str], np.ndarray] = {}
    for key, part in layouts.groupby(["representation", "method"], sort=False):
        xy = part.drop_duplicates("id").set_index("id").reindex(shown)[["x", "y"]].to_numpy(dtype=np.float64)
        xy = np.nan_to_num(xy - np.nanmean(xy, axis=0))
        points[key] = xy / (np.abs(xy).max() or 1.0)
    last = list(points.values())[-1]
    anchor = last @ np.linalg.svd(last, full_matrices=False)[2].T  # its longest axis lies flat
    placed = []
    for (representation, method), xy in points.items():
        left, _, right = np.linalg.svd(xy.T @ anchor)
        x, y = (xy @ left @ right).T
        centred = [x - (x.min() + x.max()) / 2, y - (y.min() + y.max()) / 2]
        reach = max(np.abs(centred).max(), 1e-9)
        x, y = (np.rint((axis / reach + 1) / 2 * GRID).astype(int).tolist() for axis in centred)
        placed.append({"representation": representation, "method": method, "x": x, "y": y})
    return placed
