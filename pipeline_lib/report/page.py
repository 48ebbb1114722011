"""The report: one HTML page that needs no network, and into which no file name or label can put a script.

Jinja escapes every value, data for the map is JSON without any character that HTML could act on, and a
Content-Security-Policy lets just the page's own scripts run, by their hashes.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline_lib.data.dataset import LABEL_PREFIX, Dataset
from pipeline_lib.report import charts, sections, tables
from pipeline_lib.report.atlas import atlas

HERE = Path(__file__).parent
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
    scripts = [_own(name) for name in SCRIPTS]
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": tables.number, "points": tables.points, "sentence": tables.sentence}
    return environment.get_template("page.html").render(
        title=title,
        policy=_policy(scripts),
        style=_own("page.css"),
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


def _own(name: str) -> Markup:
    """Return a file of this package as it is: it is part of the page and must not be escaped."""
    return Markup((HERE / name).read_text(encoding="utf-8"))  # noqa: S704 - a file of ours, not an input


def _policy(scripts: Sequence[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
