"""What a stage produced, as artifacts of its task run in the Prefect UI: metrics, pictures, the verdict, the report.

Their keys start with the project's name, so that those of several projects on one server are told apart.
"""

import base64
import html
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.publish.kept import kept_map
from flows.publish.report import publish_page
from flows.repo.metrics import read_metrics_file
from flows.repo.plan import PlannedStage
from flows.server.settings import project
from pipeline_lib.core.files import read_json
from tasks.params import Params

SECONDS_BETWEEN_UPDATES = 2.0
PICTURES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".svg": "svg+xml"}
BYTES_OF_A_PICTURE = 300_000  # it goes into the server's database as it is


def publish_plan(plan: tuple[PlannedStage, ...]) -> None:
    """Publish the plan as a table."""
    rows = [{"stage": s.name, "prediction": s.prediction, "because": ", ".join(s.reasons)} for s in plan]
    create_table_artifact(rows, key=key("plan"), description="What the run was going to do, and why")


def publish(stage: PlannedStage, params: Params) -> None:
    """Publish the metrics of ``stage``, its pictures, and what PUBLISHERS has for its outputs."""
    for path in map(Path, stage.metrics):
        rows = [{"metric": name, "value": _shown(value)} for name, value in read_metrics_file(path).items()]
        create_table_artifact(rows, key=key(stage.name, "metrics"), description=f"{path} of {stage.name}")
    for out in stage.outs:
        if Path(out).suffix.lower() in PICTURES and Path(out).stat().st_size <= BYTES_OF_A_PICTURE:
            _publish_picture(Path(out).read_bytes(), Path(out).suffix, key(out), f"{out} of {stage.name}")
        if out in PUBLISHERS:
            PUBLISHERS[out](Path(out), params)


def verdict_markdown(summary: Mapping[str, Any]) -> str:
    """Return the verdict of ``reports/verdict.json`` as markdown: its lines, then the numbers behind them."""
    headline, *others = map(_escape, summary["lines"])
    rows = ["| transfer | outcome | gain | score | method | measured by |", "|---" * 6 + "|"]
    for entry in summary["entries"]:
        kind = f"{entry['kind']}, {entry['label']}" if entry["label"] else entry["kind"]
        gain, score, method = "-", "-", entry["method"] or "-"
        if entry["gain"] is not None:
            gain = f"{_number(entry['gain'])} ({_number(entry['low'])} to {_number(entry['high'])})"
        if entry["baseline"]:
            score = f"{_number(entry['value'])}, baseline {_number(entry['baseline_value'])}"
            method = f"{method}, baseline {entry['baseline']}"
        cells = [kind, entry["outcome"].replace("_", " "), gain, score, method, entry["metric"] or "-"]
        rows.append(f"| {' | '.join(map(_escape, cells))} |")
    return "\n".join([f"**{headline}**", "", *(f"- {line}" for line in others), "", *rows])


class Progress:
    """Turns the progress events of a stage into one artifact, and now and then into a line for ``log``."""

    def __init__(self, stage: str, log: Callable[[str], None]) -> None:
        self._stage, self._log = stage, log
        self._artifact: Any = None
        self._shown = self._told = -float("inf")

    def show(self, event: Mapping[str, Any]) -> None:
        """Publish ``event``, unless one was published a moment ago."""
        now = time.monotonic()
        if now - self._shown < SECONDS_BETWEEN_UPDATES:
            return
        self._shown = now
        share = 100 * event["done"] / max(event["total"], 1)
        metrics = "".join(f", {name} {value:.4g}" for name, value in event.get("metrics", {}).items())
        text = f"{event['label']}: {event['done']} of {event['total']}{metrics}"
        if self._artifact is None:
            self._artifact = create_progress_artifact(share, key=key(self._stage, "progress"), description=text)
        else:
            update_progress_artifact(self._artifact, share, description=text)
        if now - self._told >= 5 * SECONDS_BETWEEN_UPDATES:
            self._told = now
            self._log(text)

    def finish(self) -> None:
        """Say that the stage is done: its last event may have been one of many parts, or left out."""
        if self._artifact is not None:
            update_progress_artifact(self._artifact, 100, description=f"{self._stage} is done")


def _publish_verdict(path: Path, params: Params) -> None:
    markdown = verdict_markdown(read_json(path))
    create_markdown_artifact(markdown, key=key("verdict"), description="What carried over, and what did not")


def _publish_map(path: Path, params: Params) -> None:
    coloured = f", coloured by {params.primary_label}" if params.primary_label else ""
    _publish_picture(kept_map(path, params), ".png", key("map"), f"The target's images by UMAP{coloured}")


def _publish_picture(picture: bytes, suffix: str, name: str, description: str) -> None:
    url = f"data:image/{PICTURES[suffix.lower()]};base64,{base64.b64encode(picture).decode()}"
    create_image_artifact(url, key=name, description=description)


def _publish_page(path: Path, params: Params) -> None:
    publish_page(path, key(path.stem))


PUBLISHERS: Mapping[str, Callable[[Path, Params], None]] = {
    "reports/verdict.json": _publish_verdict,
    "reports/projection.parquet": _publish_map,
    "reports/audit.html": _publish_page,
    "reports/report.html": _publish_page,
}


def key(*parts: str) -> str:
    """Return the key of an artifact of this project: small letters, digits and dashes are all that Prefect takes."""
    name = "-".join([project(), *parts]).lower()
    return "".join(sign if sign.isalnum() and sign.isascii() else "-" for sign in name)


def _shown(value: Any) -> Any:
    """Return a metric as a cell of a table, which holds what JSON has."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    return value if isinstance(value, int | None) else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _escape(text: str) -> str:
    """Keep names that come from the user's files from being read as markup."""
    return html.escape(str(text), quote=False).replace("|", "\\|").replace("[", "\\[")
