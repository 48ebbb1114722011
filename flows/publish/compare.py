"""The metrics of a run beside those of the last run of the same deployment."""

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from uuid import UUID

from prefect import get_client
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.events import emit_event

from flows.publish.artifacts import key
from flows.repo.metrics import read_metrics_file
from flows.repo.plan import PlannedStage
from pipeline_lib.core.errors import UserError, nearest

DROPPED = "graftline.metrics.dropped"


def read_metrics(plan: Sequence[PlannedStage]) -> dict[str, float]:
    """Return every number in the metrics of ``plan`` by its file and key, as in ``metrics/heads.json:loss``.

    One that is not finite, which JSON has as null, is not a number.
    """
    files = [Path(path) for stage in plan for path in stage.metrics]
    return {
        f"{path}:{name}": float(value) if value is not None and math.isfinite(value) else math.nan
        for path in files
        for name, value in read_metrics_file(path).items()
        if value is None or isinstance(value, Real)
    }


def dropped(metrics: Mapping[str, float], last: Mapping[str, float], drops: Mapping[str, float]) -> list[str]:
    """Say which metrics are worse than in the ``last`` run by more than ``drops`` allows.

    A negative amount is for a metric of which less is better: -0.1 allows a rise of 0.1. A metric that the last
    run did not have is not compared, and one that is no longer a number is worse. Raises UserError for one that this
    run does not have.
    """
    for name in drops:
        if name not in metrics:
            raise UserError(f"drops names {name}, which no stage leaves{nearest(name, metrics)}")
    return [
        f"{name} went from {last[name]:.4g} to {metrics[name]:.4g}, by more than {abs(amount):g}"
        for name, amount in drops.items()
        if name in last and not (last[name] - metrics[name]) * (1 if amount >= 0 else -1) <= abs(amount)
    ]


def publish_comparison(
    plan: Sequence[PlannedStage], drops: Mapping[str, float], deployment: str, run_id: UUID
) -> list[str]:
    """Publish the metrics beside the last run's as an artifact, and return what :func:`dropped` says.

    The artifact is where the next run of ``deployment`` finds them, on whichever machine it runs. A drop is also an
    event, ``graftline.metrics.dropped``, that an automation can act on.
    """
    table = key("metrics", deployment)
    metrics, last = read_metrics(plan), _last(table)
    sentences = dropped(metrics, last, drops)
    rows = [
        {"metric": name, "value": value, "last": last.get(name), "change": value - last.get(name, value)}
        for name, value in sorted(metrics.items(), key=lambda item: (item[0] not in drops, item[0]))
    ]
    told = "; ".join(sentences) or "The metrics beside those of the last run"
    create_table_artifact(rows, key=table, description=told)
    if sentences:
        resource = {"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.resource.name": deployment}
        emit_event(DROPPED, resource=resource, payload={"dropped": sentences})
    return sentences


def _last(table: str) -> dict[str, float]:
    with get_client(sync_client=True) as client:
        chosen = ArtifactFilter(key=ArtifactFilterKey(any_=[table]))
        found = client.read_artifacts(artifact_filter=chosen, sort=ArtifactSort.CREATED_DESC, limit=1)
    rows = json.loads(str(found[0].data)) if found else []
    return {row["metric"]: row["value"] for row in rows if row["value"] is not None}
