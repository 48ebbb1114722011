"""Everything that is measured on source and target before anything is learnt from them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.audit import duplicates, near
from pipeline_lib.audit.labels import skew, suspected_errors
from pipeline_lib.core.progress import progress
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.columns import describe
from pipeline_lib.data.roles import Role
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import labelled
from pipeline_lib.stats.components import pixel_components
from pipeline_lib.stats.shift import domain_classifier, frechet_distance, mmd

SHOWN = 20


def audit(source: Role, target: Role, *, sample: int, permutations: int, seed: int) -> dict[str, Any]:
    """Measure shift, labels, duplicates and quality of source and target; return what reports/audit.json holds.

    Shift and label errors are measured on the leading 50 principal components of the pixels of both; shift on at
    most ``sample`` random images of each. The labels looked at are those that were read with the roles; the target's
    are described here and used by nothing that follows.
    """
    with progress("audit", 5) as tracker:
        features = pixel_components([source.images, target.images], seed)
        tracker.advance()
        shift = _shift((source, target), features, sample, permutations, seed)
        tracker.advance()
        digests = [duplicates.digests(role.images) for role in (source, target)]
        pairs = duplicates.across(*digests)
        tracker.advance()
        described = {}
        for role, features_NK, digests_N in zip((source, target), features, digests, strict=True):
            described[role.name] = _describe(role, features_NK, digests_N, seed)
            tracker.advance()
    searched = [near.see(role.images, digests_N) for role, digests_N in zip((source, target), digests, strict=True)]
    for role, one, digests_N in zip((source, target), searched, digests, strict=True):
        described[role.name] |= _near_within(role, one, digests_N, seed)
    near_across = near.near_duplicates(searched[0], searched[1], seed)
    ids = [role.table["id"].to_numpy() for role in (source, target)]
    return {
        "shift": shift,
        "sets": described,
        "duplicates_across": {
            "count": len(pairs),
            "examples": [[ids[0][one], ids[1][other]] for one, other in pairs[:SHOWN]],
        },
        "near_duplicates_across": _near(near_across, source, target, digests),
        "same_images": duplicates.same(*digests),
        "shared": int(target.table["key"][target.rows("test")].isin(source.table["key"]).sum()),
    }


def flat(audit: dict[str, Any]) -> dict[str, float | None]:
    """Return the numbers of an audit by flat names, without any that follow from the target's labels."""
    numbers: dict[str, float | None] = {
        **audit["shift"],
        "duplicates_across": audit["duplicates_across"]["count"],
        "near_duplicates_across": audit["near_duplicates_across"]["count"],
        "shared": audit["shared"],
    }
    for role, described in audit["sets"].items():
        for name in ("num_images", "moved", "quarantined", "blank", "duplicates_within", "duplicates_across_splits"):
            numbers[f"{role}_{name}"] = described[name]
        for name in ("near_duplicates_within", "near_leaks"):
            numbers[f"{role}_{name}"] = described[name]["count"]
    for name, label in audit["sets"]["source"]["labels"].items():
        if "imbalance" in label:
            numbers[f"source_imbalance_{name}"] = label["imbalance"]
    for name, errors in audit["sets"]["source"]["label_errors"].items():
        numbers[f"source_label_errors_{name}"] = errors["share"]
    return numbers


def _shift(
    roles: Sequence[Role], features: Sequence[np.ndarray], sample: int, permutations: int, seed: int
) -> dict[str, float]:
    rng = np.random.default_rng(derive_seed(seed, "audit sample"))
    rows = [np.sort(rng.choice(len(role), min(sample, len(role)), replace=False)) for role in roles]
    source_NK, target_NK = (features_NK[drawn] for features_NK, drawn in zip(features, rows, strict=True))
    keys = [role.table["key"].to_numpy(dtype=str)[drawn] for role, drawn in zip(roles, rows, strict=True)]
    return {
        **domain_classifier(source_NK, target_NK, seed, (keys[0], keys[1])),
        **mmd(source_NK, target_NK, permutations, seed),
        "frechet_distance": frechet_distance(source_NK, target_NK),
    }


def _describe(role: Role, features_NK: np.ndarray, digests: list[str | None], seed: int) -> dict[str, Any]:
    kinds = {name: label["kind"] for card in role.cards.values() for name, label in card["labels"].items()}
    labels, errors = {}, {}
    for name in (name for name in role.labels if name in kinds):
        labels[name] = describe(pd.Series(role.label(name)), kinds[name])
        if "counts" in labels[name]:
            labels[name] |= skew(np.array(labels[name]["counts"]))
        if KINDS[kinds[name]].has_classes:
            errors[name] = _errors(role, name, features_NK, seed)
    train, test = role.rows("train"), role.rows("test")
    datasets = {name: _dataset(role, name) for name in role.cards}
    return {
        "num_images": len(role),
        "moved": role.moved,
        "datasets": datasets,
        "quarantined": sum(one["quarantined"] for one in datasets.values()),
        "blank": sum(one["blank"] for one in datasets.values()),
        "labels": labels,
        "label_errors": errors,
        "duplicates_within": duplicates.within(digests),
        "duplicates_across_splits": len(
            duplicates.across([digests[row] for row in train], [digests[row] for row in test])
        ),
    }


def _near_within(role: Role, searched: near.Set, digests: Sequence[str | None], seed: int) -> dict[str, Any]:
    """Count near duplicates within a role, and those that are in its train and its test split."""
    found = near.near_duplicates(searched, searched, seed)
    tested = (role.table["split"] == "test").to_numpy()
    leaks = found.pairs[tested[found.pairs[:, 0]] != tested[found.pairs[:, 1]]]
    # The training image first, as the source is across.
    leaks = np.where(tested[leaks[:, :1]], leaks[:, ::-1], leaks)
    return {
        "near_duplicates_within": _near(found, role, role, (digests, digests)),
        "near_leaks": _near(replace(found, pairs=leaks), role, role, (digests, digests), role.rows("test")),
    }


def _near(
    found: near.Near, one: Role, other: Role, digests: Sequence[Sequence[str | None]], among: np.ndarray | None = None
) -> dict[str, Any]:
    """Describe near duplicates: how many images of ``other`` (of its rows ``among``) are one, and what is expected."""
    differ = [row for row, (a, b) in enumerate(found.pairs) if digests[0][a] != digests[1][b]]
    pairs = found.pairs[differ]
    ids = one.table["id"].to_numpy(), other.table["id"].to_numpy()
    num_images = len(other) if among is None else len(among)
    described = {
        "count": len(np.unique(pairs[:, 1])) if found.threshold else None,
        "num_images": num_images,
        "examples": [[ids[0][a], ids[1][b]] for a, b in pairs[:SHOWN]],
    }
    if found.threshold is None:
        return {**described, "expected_recall": None, "expected_false": None}
    recall = {kind: round(share, 3) for kind, share in found.threshold.recall.items()}
    return {**described, "expected_recall": recall, "expected_false": round(found.threshold.false * num_images, 2)}


def _dataset(role: Role, name: str) -> dict[str, Any]:
    """Count what one dataset has part in its role."""
    own = (role.table["dataset"] == name).to_numpy()
    return {
        "num_images": int(own.sum()),
        **{split: int(own[role.rows(split)].sum()) for split in ("train", "test")},
        "quarantined": len(role.cards[name]["quarantined"]),
        "blank": int((role.table["flags"][own] == "blank").sum()),
        "labelled": {label: int(labelled(role.label(label)[own]).sum()) for label in role.labels},
    }


def _errors(role: Role, name: str, features_NK: np.ndarray, seed: int) -> dict[str, Any]:
    given = role.label(name)
    found = suspected_errors(features_NK, given, role.table["key"].to_numpy(dtype=str), seed)
    num_judged, num_suspected = len(found["judged"]), len(found["suspected"])
    ids, paths = role.table["id"].to_numpy(), role.table["path"].to_numpy()
    worst = [
        {"id": ids[row], "path": paths[row], "given": given[row], "suggested": str(suggested)}
        for row, suggested in zip(found["suspected"][:SHOWN], found["suggested"], strict=False)
    ]
    return {
        "share": num_suspected / num_judged if num_judged else None,
        "count": num_suspected,
        "num_judged": num_judged,
        "worst": worst,
    }
