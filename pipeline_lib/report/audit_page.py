"""The audit's own page, which can be read while training still runs: one HTML file that needs no network."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline_lib.data.roles import Role
from pipeline_lib.report import audit_sections as sections
from pipeline_lib.report.environment import environment, own, policy
from pipeline_lib.report.words import count, joined


def render_audit(audit: Mapping[str, Any], source: Role, target: Role) -> str:
    """Return the page as HTML; equal inputs give equal bytes. ``audit`` is the content of reports/audit.json."""
    roles = {"source": source, "target": target}
    return (
        environment()
        .get_template("audit_page.html")
        .render(
            policy=policy([]),
            style=own("page.css"),
            headline=headline(audit),
            datasets={name: list(role.cards) for name, role in roles.items()},
            audit=audit,
            counts=sections.counts(audit),
            labels=sections.labels(audit),
            quarantined=sections.quarantined(roles),
            suspects=sections.suspects(audit, roles),
            twins=sections.twins(audit, roles),
            near_twins=sections.near_twins(audit, roles),
            telling=sections.telling(audit, roles),
            poor=sections.poor(audit, roles),
        )
    )


def headline(audit: Mapping[str, Any]) -> str:
    """Return how much was found, as a sentence."""
    levels = Counter(finding["level"] for finding in audit["findings"])
    parts = [
        count(levels["blocking"], "finding that stops the pipeline", "findings that stop the pipeline"),
        count(levels["warning"], "warning"),
        count(levels["info"], "note"),
    ]
    said = [part for part, level in zip(parts, ("blocking", "warning", "info"), strict=True) if levels[level]]
    return f"{joined(said)} on the data." if said else "Nothing was found."
