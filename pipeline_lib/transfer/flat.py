"""The numbers of the evaluation under short, stable names, as ``dvc metrics diff`` compares them."""

from collections.abc import Mapping
from typing import Any


def flat_metrics(report: Mapping[str, Any], primary: str) -> dict[str, float | None]:
    """Return ``{name: number}`` of the content of reports/transfer.json; docs/metrics.md lists the names."""
    flat: dict[str, float | None] = {}
    for row in report["verdict"]:
        flat |= {
            f"gain.{row['kind']}{end}": row[key] for end, key in (("", "gain"), (".low", "low"), (".high", "high"))
        }
    for row in report["probes"]:
        flat[f"probe.{row['representation']}.{row['labels_per_class']}"] = row["accuracy"]
    for row in report["adaptation"]:
        if (row["label"], row["metric"]) == (primary, "accuracy"):
            flat[f"target_accuracy.{row['model']}"] = row["value"]
    for row in report["heads"]:
        flat[f"heads.{row['model']}.{row['label']}.{row['metric']}"] = row["value"]
    for row in report["clusterings"]:
        for score in ("accuracy", "nmi", "ari", "silhouette", "num_clusters", "noise"):
            flat[f"clustering.{row['space']}.{row['clusterer']}.{row['representation']}.{score}"] = row[score]
    for row in report["projections"]:
        for score in ("trustworthiness", "continuity"):
            flat[f"projection.{row['method']}.{row['representation']}.{score}"] = row[score]
    for row in report["shift"]:
        for score in ("domain_auc", "proxy_a_distance"):
            flat[f"shift.{row['representation']}.{score}"] = row[score]
    return flat
