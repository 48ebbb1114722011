"""What the map of the target needs: points of every projection, classes, colours and one sheet of thumbnails."""

import colorsys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.ingest import natural_key
from pipeline_lib.report.pictures import data_uri, tile_side

GRID = 4095  # positions are whole numbers from 0 to this
SHEET_COLUMNS = 50
# Ten hues that differ in lightness too and stand out on white and on black (after Observable's scheme).
TEN = ("#4269d0", "#e8a800", "#f4624f", "#53b8a5", "#3ca951", "#ff8ab7", "#a463f2", "#8fb4f0", "#9c6b4e", "#8f949d")
GOLDEN = 0.618034


def atlas(
    layouts: pd.DataFrame,
    images: np.ndarray,
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
    ``limit`` images, drawn at random, are shown. A class is its index in ``classes``; -1 is "none".
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
    number = {name: index for index, name in enumerate(names)}
    side = tile_side(len(rows), images.shape[1])
    true_class = [number.get(truth[row] or "", -1) for row in rows]
    return {
        "ids": shown,
        "paths": [paths[row] for row in rows],
        "classes": names,
        "counts": [true_class.count(index) for index in range(len(names))],
        "colours": colours(len(names)),
        "truth": true_class,
        "predicted": [number.get(predicted.get(name, ""), -1) for name in shown],
        "total": len(ids),
        "layouts": _aligned(layouts, shown),
        "side": side,
        "columns": SHEET_COLUMNS,
        "sheet": data_uri(np.asarray(images[rows]), SHEET_COLUMNS, side),
    }


def colours(count: int) -> list[str]:
    """Return ``count`` colours as #rrggbb: the ten of the scheme, or as many hues in two lightnesses as it takes."""
    if count <= len(TEN):
        return list(TEN[:count])
    shades = [colorsys.hls_to_rgb(index * GOLDEN % 1, (0.42, 0.62)[index % 2], 0.62) for index in range(count)]
    return ["#" + "".join(f"{round(255 * part):02x}" for part in shade) for shade in shades]


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
