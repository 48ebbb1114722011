"""The numbers of the evaluation under short, stable names, as ``dvc metrics diff`` compares them."""

from collections.abc import Mapping
from typing import Any

CLUSTER_SCORES = ("ari", "ami", "accuracy", "silhouette", "num_clusters", "noise")


def flat_metrics(evaluation: Mapping[str, Any]) -> dict[str, float | None]:
    """Return ``{name: number}`` of the content of reports/evaluation.json; docs/metrics.md lists the names."""
    flat: dict[str, float | None] = {}
    for row in evaluation["comparisons"]:
        gain = row["baselines"][0] if row["baselines"] else {"gain": None, "low": None, "high": None}
        name = ".".join(filter(None, ("gain", row["kind"], row["label"])))
        flat |= {f"{name}{end}": gain[key] for end, key in (("", "gain"), (".low", "low"), (".high", "high"))}
    for row in evaluation["affinity"]:
        flat[f"affinity.{row['of']}.{row['to']}"] = row["value"]
    for row in evaluation["probes"]:
        if row["label"] == evaluation["primary"]:
            flat[f"probe.{row['representation']}.{row['labels_per_class']}"] = row["value"]
    for label in evaluation["worth"]:
        for row in label["rows"]:
            if row["role"] == "alternative":
                name = f"worth.{label['label']}.{row['name']}"
                flat |= {f"{name}{end}": row[key] for end, key in (("", "gain"), (".low", "low"), (".high", "high"))}
    for row in evaluation["scores"]:
        domain = {"source": "heads"}.get(row["domain"], row["domain"])
        flat[f"{domain}.{row['model']}.{row['label']}.{row['metric']}"] = row["value"]
    for row in evaluation["clusterings"]:
        for score in CLUSTER_SCORES:
            flat[f"clustering.{row['space']}.{row['clusterer']}.{row['representation']}.{score}"] = row[score]
    for row in evaluation["projections"]:
        for score in ("trustworthiness", "continuity"):
            flat[f"projection.{row['method']}.{row['representation']}.{score}"] = row[score]
    for row in evaluation["shift"]:
        for score in ("domain_auc", "proxy_a_distance"):
            flat[f"shift.{row['representation']}.{score}"] = row[score]
    return flat
