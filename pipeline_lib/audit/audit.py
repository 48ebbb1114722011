"""Everything that is measured on both datasets before anything is learnt from them."""

from typing import Any

import numpy as np

from pipeline_lib.audit import duplicates
from pipeline_lib.audit.labels import skew, suspected_errors
from pipeline_lib.audit.pixels import pixel_components
from pipeline_lib.audit.shift import domain_classifier, frechet_distance, mmd
from pipeline_lib.core.progress import progress
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.dataset import Dataset

SHOWN = 20


def audit(source: Dataset, target: Dataset, *, sample: int, permutations: int, seed: int) -> dict[str, Any]:
    """Measure shift, labels, duplicates and quality of two datasets; return what reports/audit.json holds.

    Shift and label errors are measured on the leading 50 principal components of the pixels of both sets;
    shift on at most ``sample`` random images of each. The labels looked at are those that were read with the
    datasets; the target's are described here and used by nothing that follows.
    """
    with progress("audit", 5) as tracker:
        source_NK, target_NK = pixel_components([source.images, target.images], seed)
        tracker.advance()
        shift = _shift(_sampled(source_NK, sample, seed), _sampled(target_NK, sample, seed), permutations, seed)
        tracker.advance()
        source_digests, target_digests = duplicates.digests(source.images), duplicates.digests(target.images)
        pairs = duplicates.across(source_digests, target_digests)
        tracker.advance()
        described = {}
        for role, dataset, features, digests in (
            ("source", source, source_NK, source_digests),
            ("target", target, target_NK, target_digests),
        ):
            described[role] = _describe(dataset, features, digests, seed)
            tracker.advance()
    return {
        "shift": shift,
        "sets": described,
        "duplicates_across": {
            "count": len(pairs),
            "examples": [[source.table["id"][one], target.table["id"][other]] for one, other in pairs[:SHOWN]],
        },
    }


def flat(audit: dict[str, Any]) -> dict[str, float | None]:
    """Return the numbers of an audit by flat names, without any that follow from the target's labels."""
    numbers: dict[str, float | None] = {**audit["shift"], "duplicates_across": audit["duplicates_across"]["count"]}
    for role, described in audit["sets"].items():
        for name in ("num_images", "quarantined", "blank", "duplicates_within", "duplicates_across_splits"):
            numbers[f"{role}_{name}"] = described[name]
    for name, label in audit["sets"]["source"]["labels"].items():
        if "imbalance" in label:
            numbers[f"source_imbalance_{name}"] = label["imbalance"]
    for name, errors in audit["sets"]["source"]["label_errors"].items():
        numbers[f"source_label_errors_{name}"] = errors["share"]
    return numbers


def _sampled(features: np.ndarray, sample: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(derive_seed(seed, "audit sample"))
    return features[np.sort(rng.choice(len(features), min(sample, len(features)), replace=False))]


def _shift(source_NK: np.ndarray, target_NK: np.ndarray, permutations: int, seed: int) -> dict[str, float]:
    return {
        **domain_classifier(source_NK, target_NK, seed),
        **mmd(source_NK, target_NK, permutations, seed),
        "frechet_distance": frechet_distance(source_NK, target_NK),
    }


def _describe(dataset: Dataset, features_NK: np.ndarray, digests: list[str | None], seed: int) -> dict[str, Any]:
    labels, errors = {}, {}
    for name in dataset.labels:
        described = dict(dataset.card["labels"][name])
        if described["kind"] != "regression":
            described |= skew(np.array(described["counts"]))
            errors[name] = _errors(dataset, name, features_NK, seed)
        labels[name] = described
    train, test = dataset.rows("train"), dataset.rows("test")
    return {
        "num_images": len(dataset),
        "quarantined": len(dataset.card["quarantined"]),
        "blank": int((dataset.table["flags"] == "blank").sum()),
        "labels": labels,
        "label_errors": errors,
        "duplicates_within": duplicates.within(digests),
        "duplicates_across_splits": len(
            duplicates.across([digests[row] for row in train], [digests[row] for row in test])
        ),
    }


def _errors(dataset: Dataset, name: str, features_NK: np.ndarray, seed: int) -> dict[str, Any]:
    given = dataset.label(name)
    found = suspected_errors(features_NK, given, seed)
    num_judged, num_suspected = len(found["judged"]), len(found["suspected"])
    worst = [
        {
            "id": dataset.table["id"][row],
            "path": dataset.table["path"][row],
            "given": given[row],
            "suggested": str(suggested),
        }
        for row, suggested in zip(found["suspected"][:SHOWN], found["suggested"], strict=False)
    ]
    return {
        "share": num_suspected / num_judged if num_judged else None,
        "count": num_suspected,
        "num_judged": num_judged,
        "worst": worst,
    }
