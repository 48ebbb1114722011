"""Near duplicates of a role and across roles, as the audit tells of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline_lib.audit import near
from pipeline_lib.data.roles import Role

SHOWN = 20


def near_within(role: Role, searched: near.Set, digests: Sequence[str | None], seed: int) -> dict[str, Any]:
    """Count near duplicates within a role, and those that are in its train and its test split."""
    found = near.near_duplicates(searched, searched, seed)
    tested = (role.table["split"] == "test").to_numpy()
    leaks = found.pairs[tested[found.pairs[:, 0]] != tested[found.pairs[:, 1]]]
    # The training image first, as the source is across.
    leaks = np.where(tested[leaks[:, :1]], leaks[:, ::-1], leaks)
    return {
        "near_duplicates_within": describe(found, role, role, (digests, digests)),
        "near_leaks": describe(replace(found, pairs=leaks), role, role, (digests, digests), role.rows("test")),
    }


def describe(
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
