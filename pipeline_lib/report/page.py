"""The report: one HTML page that needs no network, and into which no file name or label can put a script.

Jinja escapes every value, data for the map is JSON without any character that HTML could act on, and a
Content-Security-Policy lets just the page's own scripts run, by their hashes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipeline_lib.data.roles import Role
from pipeline_lib.report import charts, sections
from pipeline_lib.report.affinity import affinity
from pipeline_lib.report.environment import environment, own, policy
from pipeline_lib.report.reliability import reliability
from pipeline_lib.report.results import results
from pipeline_lib.report.sentences import lines
from pipeline_lib.report.target_map import target_map
from pipeline_lib.report.verdict import applies, verdict
from pipeline_lib.report.worth import worth_section

SCRIPTS = ("map.js", "page.js")


def render_page(
    *,
    title: str,
    evaluation: Mapping[str, Any],
    findings: Sequence[Mapping[str, str]],
    selection: Sequence[str],
    source: Role,
    target: Role,
    projections: pd.DataFrame,
    predictions: pd.DataFrame,
    model: str,
    metrics: Mapping[str, Mapping[str, float | None]],
    curves: Mapping[str, pd.DataFrame],
    settings: str,
    thumbnails: int,
    seed: int,
) -> str:
    """Return the page as HTML; equal inputs give equal bytes.

    ``evaluation`` is the content of its JSON file, ``findings`` are those of reports/audit.json and ``selection``
    sentences on what was selected of the source. ``target`` has the primary label if that is known; ``predictions``
    (id, model, label, predicted_class, predicted_value) colour the map by what ``model`` says. ``metrics`` and
    ``curves`` are keyed by stage, or stage and seed such as "pretrain/0"; ``settings`` is the text of the parameters.
    At most ``thumbnails`` target images are on the map.
    """
    roles = {"source": source, "target": target}
    scripts = [own(name) for name in SCRIPTS]
    return (
        environment()
        .get_template("page.html")
        .render(
            title=title,
            policy=policy(scripts),
            style=own("page.css"),
            scripts=scripts,
            headline=lines(evaluation)[0],
            num_images=evaluation["num_images"],
            datasets=evaluation["datasets"],
            num_seeds=len(evaluation["seeds"]),
            shared=evaluation["shared"],
            primary=evaluation["primary"],
            verdict=verdict(evaluation),
            worth=worth_section(evaluation, metrics),
            applies=applies(evaluation),
            map=target_map(evaluation, target, projections, predictions, model, thumbnails, seed),
            results=results(evaluation),
            reliability=reliability(evaluation),
            affinity=affinity(evaluation["affinity"]),
            findings=findings,
            selection=selection,
            cards=sections.cards(roles),
            curves=sections.curves(curves),
            settings=sections.settings(settings),
            metrics=metrics,
            icon=charts.icon,
        )
    )
