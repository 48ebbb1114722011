"""The report: one HTML page that needs no network, and into which no file name or label can put a script.

Jinja escapes every value, data for the map is JSON without any character that HTML could act on, and a
Content-Security-Policy lets just the page's own scripts run, by their hashes.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pipeline_lib.data.dataset import LABEL_PREFIX, Dataset
from pipeline_lib.report import charts, sections
from pipeline_lib.report.atlas import atlas
from pipeline_lib.report.environment import environment, own, policy

SCRIPTS = ("map.js", "page.js")


def render_page(
    *,
    title: str,
    transfer: Mapping[str, Any],
    audit: Mapping[str, Any],
    source: Dataset,
    target: Dataset,
    projections: pd.DataFrame,
    predictions: pd.DataFrame,
    primary: str,
    model: str,
    metrics: Mapping[str, Mapping[str, float | None]],
    curves: Mapping[str, pd.DataFrame],
    settings: str,
    thumbnails: int,
    seed: int,
) -> str:
    """Return the page as HTML; equal inputs give equal bytes.

    ``transfer`` and ``audit`` are the contents of their JSON files. ``target`` has the label ``primary`` if it is
    labelled at all; ``predictions`` (id, model, label, predicted_class) colour the map by what ``model`` says.
    ``metrics`` and ``curves`` are keyed by stage; ``settings`` is the text of params.yaml. At most ``thumbnails``
    target images are on the map.
    """
    datasets = {"source": source, "target": target}
    cards = {role: dataset.card for role, dataset in datasets.items()}
    target_map = _map(transfer, target, projections, predictions, primary, model, thumbnails, seed)
    scripts = [own(name) for name in SCRIPTS]
    return (
        environment()
        .get_template("page.html")
        .render(
            title=title,
            policy=policy(scripts),
            style=own("page.css"),
            scripts=scripts,
            lines=transfer["lines"],
            num_images=transfer["num_images"],
            cards=cards,
            primary=primary,
            model=model,
            is_labelled=primary in target.card["labels"],
            verdict=sections.verdict(transfer["verdict"]),
            map=target_map,
            results=sections.results(transfer),
            audit=audit,
            checks=sections.checks(audit, cards),
            suspects=sections.suspects(audit, datasets),
            twins=sections.twins(audit, datasets),
            curves=sections.curves(curves),
            settings=sections.settings(settings),
            metrics=metrics,
            icon=charts.icon,
        )
    )


def _map(
    transfer: Mapping[str, Any],
    target: Dataset,
    projections: pd.DataFrame,
    predictions: pd.DataFrame,
    primary: str,
    model: str,
    limit: int,
    seed: int,
) -> dict[str, Any] | None:
    is_labelled = LABEL_PREFIX + primary in target.table
    truth = target.table[LABEL_PREFIX + primary] if is_labelled else pd.Series([None] * len(target))
    told = predictions[(predictions["model"] == model) & (predictions["label"] == primary)].dropna(
        subset="predicted_class"
    )
    drawn = atlas(
        projections,
        target.images,
        target.table["id"].tolist(),
        target.table["path"].tolist(),
        [None if pd.isna(name) else name for name in truth],
        dict(zip(told["id"], told["predicted_class"], strict=True)),
        classes=transfer["classes"],
        limit=limit,
        seed=seed,
    )
    if drawn is None:
        return None
    for layout in drawn["layouts"]:
        layout["note"] = sections.layout_note(transfer, layout["representation"], layout["method"])
    return {**drawn, "label": primary, "model": model}
