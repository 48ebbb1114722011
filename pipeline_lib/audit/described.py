"""What is in one role: its datasets, its labels and how far they can be trusted, its copies, and its quality."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.audit import duplicates
from pipeline_lib.audit.errors import suspected_errors
from pipeline_lib.audit.joint import by_dataset
from pipeline_lib.audit.labels import skew
from pipeline_lib.audit.quality import poor
from pipeline_lib.audit.sampling import groups
from pipeline_lib.data.columns import describe
from pipeline_lib.data.roles import Role
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import labelled

SHOWN = 20
# A picture is odd if its longer side is more than so many times its shorter.
ODD_ASPECT = 3


def kinds_of(role: Role) -> dict[str, str]:
    """Return the kind of each label that a dataset of the role has."""
    known = {name: label["kind"] for card in role.cards.values() for name, label in card["labels"].items()}
    return {name: known[name] for name in role.labels if name in known}


def describe_role(
    role: Role, features_NK: np.ndarray, judged_by_ND: np.ndarray, digests: list[str | None], seed: int
) -> dict[str, Any]:
    """Return what a role's part of reports/audit.json holds, but for near duplicates.

    Groups are described by ``features_NK``, the pixels' components, and label errors looked for in ``judged_by_ND``.
    """
    labels, errors, confounded = {}, {}, {}
    for name, kind in kinds_of(role).items():
        labels[name] = describe(pd.Series(role.label(name)), kind)
        if "counts" in labels[name]:
            labels[name] |= skew(np.array(labels[name]["counts"]))
        if KINDS[kind].has_classes:
            errors[name] = _errors(role, name, judged_by_ND, seed)
            if found := by_dataset(role, name):
                confounded[name] = found
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
        "labels_by_dataset": confounded,
        "duplicates_within": duplicates.within(digests),
        "duplicates_across_splits": len(
            duplicates.across([digests[row] for row in train], [digests[row] for row in test])
        ),
        "quality": _quality(role, seed),
        "groups": groups(features_NK, role.table["key"].to_numpy(dtype=str)),
    }


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


def _errors(role: Role, name: str, features_ND: np.ndarray, seed: int) -> dict[str, Any]:
    given = role.label(name)
    found = suspected_errors(features_ND, given, role.table["key"].to_numpy(dtype=str), seed)
    num_judged = len(found.judged)
    ids, paths = role.table["id"].to_numpy(), role.table["path"].to_numpy()
    worst = [
        {"id": ids[row], "path": paths[row], "given": given[row], "suggested": str(suggested)}
        for row, suggested in zip(found.doubtful[:SHOWN], found.suggested, strict=False)
    ]
    return {
        "share": found.num_suspected / num_judged if num_judged else None,
        "count": found.num_suspected,
        "doubtful": len(found.doubtful),
        "num_judged": num_judged,
        "rate": found.rate,
        "rate_low": found.low,
        "expected_false": found.expected_false,
        "noticed_from": found.noticed_from,
        "recall": found.recall,
        "worst": worst,
    }


def _quality(role: Role, seed: int) -> dict[str, Any]:
    """Count poor images with examples, and pictures that were tiny or of odd shape before they were framed."""
    num_judged, found = poor(role.images, seed)
    ids = role.table["id"].to_numpy()
    sizes = Counter[tuple[int, int]]()
    tiny = 0
    for card in role.cards.values():
        content = card.get("framing", {}).get("content", 0)
        for size, count in card.get("original_sizes", {}).items():
            width, height = map(int, size.split("x"))
            sizes[width, height] += count
            tiny += count if 2 * max(width, height) < content else 0
    odd = sum(count for size, count in sizes.items() if max(size) > ODD_ASPECT * min(size))
    return {
        "num_judged": num_judged,
        "poor": {name: {"count": len(rows), "examples": ids[rows[:SHOWN]].tolist()} for name, rows in found.items()},
        "tiny": tiny,
        "odd_aspect": odd,
    }
