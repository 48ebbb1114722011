"""The map of the target, coloured by the primary label: by its classes, or by numbers in a few steps."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.data.roles import Role
from pipeline_lib.labels import KINDS
from pipeline_lib.report.atlas import atlas, ramp
from pipeline_lib.report.charts import linear_axis, short
from pipeline_lib.report.headline import SOURCE_ONLY
from pipeline_lib.report.tables import number
from pipeline_lib.report.words import capital, is_number

# What colours the map: the class of each image or None, the predicted class by id, and all classes.
Colouring = tuple[Sequence[str | None], Mapping[str, str], Sequence[str]]


def target_map(
    evaluation: Mapping[str, Any],
    target: Role,
    projections: pd.DataFrame,
    predictions: pd.DataFrame,
    model: str,
    limit: int,
    seed: int,
) -> dict[str, Any] | None:
    """Return what the map needs as plain values, or None where nothing was projected.

    It has no colours without a primary label, and with one that gives an image several tags. Predictions are those of
    ``model`` or, where it has none, of the model as trained on the source.
    """
    primary = evaluation["primary"]
    kinds = {task["name"]: KINDS[task["kind"]] for task in evaluation["tasks"]}
    of_primary = predictions[predictions["label"] == primary]
    # Where no adapter is handed on, the model before any is.
    model = model if (of_primary["model"] == model).any() else SOURCE_ONLY
    told = of_primary[of_primary["model"] == model]
    has_numbers = primary in kinds and kinds[primary].stored == "float64"
    colouring: Colouring = ([None] * len(target), {}, [])
    if has_numbers:
        colouring = _steps(target, told, primary)
    elif primary in kinds and kinds[primary].has_classes:
        colouring = _classes(target, told, primary, evaluation["classes"])
    truth, predicted, classes = colouring
    ids, paths = target.table["id"].tolist(), target.table["path"].tolist()
    drawn = atlas(projections, target.images, ids, paths, truth, predicted, classes=classes, limit=limit, seed=seed)
    if drawn is None:
        return None
    if has_numbers:
        drawn["colours"] = ramp(len(classes))
    for layout in drawn["layouts"]:
        layout["note"] = layout_note(evaluation, layout["representation"], layout["method"])
    # Two numbers of one step are not equal, so nothing is right or wrong about them.
    return {**drawn, "label": primary or "", "model": model, "exact": not has_numbers}


def layout_note(evaluation: Mapping[str, Any], representation: str, method: str) -> str:
    """Return one line on what a representation is and how far its projection can be trusted."""
    what = {row["name"]: row["what"] for row in evaluation["representations"]}.get(representation, "")
    trust = [
        f"{score} {number(row[score])}"
        for row in evaluation["projections"]
        if (row["representation"], row["method"]) == (representation, method)
        for score in ("trustworthiness", "continuity")
    ]
    return ". ".join(capital(part.rstrip(".")) for part in (what, ", ".join(trust)) if part)


def _classes(target: Role, told: pd.DataFrame, label: str, classes: Sequence[str]) -> Colouring:
    truth = [None if pd.isna(name) else str(name) for name in _truth(target, label)]
    known = told.dropna(subset="predicted_class")
    return truth, dict(zip(known["id"], known["predicted_class"], strict=True)), classes


def _steps(target: Role, told: pd.DataFrame, label: str) -> Colouring:
    """Return the numbers as the steps of a round axis that they fall into, such as "0.5 to 1"."""
    truth = pd.to_numeric(pd.Series(_truth(target, label))).to_numpy(dtype=np.float64)
    known = told.dropna(subset="predicted_value")
    finite = [value for value in (*truth, *known["predicted_value"]) if is_number(value)]
    if not finite:
        return [None] * len(truth), {}, []
    ticks = linear_axis(finite).ticks
    names = [f"{short(low)} to {short(high)}" for low, high in pairwise(ticks)]

    def step(value: float) -> str:
        return names[int(np.clip(np.searchsorted(ticks, value, "right") - 1, 0, len(names) - 1))]

    predicted = {key: step(value) for key, value in zip(known["id"], known["predicted_value"], strict=True)}
    return [step(value) if np.isfinite(value) else None for value in truth], predicted, names


def _truth(target: Role, label: str) -> Any:
    return target.label(label) if label in target.labels else [None] * len(target)
