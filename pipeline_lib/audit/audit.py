"""Everything that is measured on source and target before anything is learnt from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline_lib.audit import copies, duplicates, joint, near
from pipeline_lib.audit.described import describe_role, kinds_of
from pipeline_lib.audit.prior import estimated_prior
from pipeline_lib.core.progress import progress
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.roles import Role
from pipeline_lib.labels import KINDS
from pipeline_lib.stats.components import pixel_components
from pipeline_lib.stats.shift import domain_probabilities, frechet_distance, mmd, separation

SHOWN = 20


@dataclass(frozen=True)
class Seen:
    """What source and target are to an encoder: its name, and float32 ``[N, K]`` features of each."""

    name: str
    features: Sequence[np.ndarray]


def audit(
    source: Role, target: Role, *, sample: int, permutations: int, seed: int, seen: Seen | None = None
) -> dict[str, Any]:
    """Measure shift, labels, duplicates and quality of source and target; return what reports/audit.json holds.

    Shift and label errors are measured on the leading 50 principal components of the pixels of both; shift on at
    most ``sample`` random images of each. Where images are ``seen`` by an encoder, label errors are looked for in its
    features instead, and shift is measured on them, too. The labels looked at are those that were read with the
    roles; the target's are described here and used by nothing that follows.
    """
    roles = (source, target)
    with progress("audit", 6) as tracker:
        features = pixel_components([source.images, target.images], seed)
        tracker.advance()
        shift, telling = _shift(roles, features, sample, permutations, seed)
        judged_by = features if seen is None else seen.features
        seen_shift = None if seen is None else _shift(roles, seen.features, sample, permutations, seed)[0]
        tracker.advance()
        digests = [duplicates.digests(role.images) for role in roles]
        pairs = duplicates.across(*digests)
        tracker.advance()
        described = {}
        for role, features_NK, judged_by_ND, digests_N in zip(roles, features, judged_by, digests, strict=True):
            described[role.name] = describe_role(role, features_NK, judged_by_ND, digests_N, seed)
            tracker.advance()
        skewed = _skew(source, target, features, shift["domain_auc"], seed)
        tracker.advance()
    searched = [near.see(role.images, digests_N) for role, digests_N in zip(roles, digests, strict=True)]
    for role, one, digests_N in zip(roles, searched, digests, strict=True):
        described[role.name] |= copies.near_within(role, one, digests_N, seed)
    near_across = near.near_duplicates(searched[0], searched[1], seed)
    ids = [role.table["id"].to_numpy() for role in roles]
    return {
        "shift": shift,
        "telling": telling,
        "features": {"name": "pixels" if seen is None else seen.name, "shift": seen_shift},
        "sets": described,
        **skewed,
        "duplicates_across": {
            "count": len(pairs),
            "examples": [[ids[0][one], ids[1][other]] for one, other in pairs[:SHOWN]],
        },
        "near_duplicates_across": copies.describe(near_across, source, target, digests),
        "same_images": duplicates.same(*digests),
        "shared": int(target.table["key"][target.rows("test")].isin(source.table["key"]).sum()),
    }


def flat(audit: dict[str, Any]) -> dict[str, float | None]:
    """Return the numbers of an audit by flat names, without any that follow from the target's labels."""
    numbers: dict[str, float | None] = {
        **audit["shift"],
        **{f"features_{name}": value for name, value in (audit["features"]["shift"] or {}).items()},
        "duplicates_across": audit["duplicates_across"]["count"],
        "near_duplicates_across": audit["near_duplicates_across"]["count"],
        "shared": audit["shared"],
    }
    for role, described in audit["sets"].items():
        for name in ("num_images", "moved", "quarantined", "blank", "duplicates_within", "duplicates_across_splits"):
            numbers[f"{role}_{name}"] = described[name]
        for name in ("near_duplicates_within", "near_leaks"):
            numbers[f"{role}_{name}"] = described[name]["count"]
        numbers[f"{role}_effective"] = described["groups"]["effective"]
        for name, poor in described["quality"]["poor"].items():
            numbers[f"{role}_{name}"] = poor["count"]
    for name, label in audit["sets"]["source"]["labels"].items():
        if "imbalance" in label:
            numbers[f"source_imbalance_{name}"] = label["imbalance"]
    for name, errors in audit["sets"]["source"]["label_errors"].items():
        numbers[f"source_label_errors_{name}"] = errors["share"]
    return numbers


def _shift(
    roles: Sequence[Role], features: Sequence[np.ndarray], sample: int, permutations: int, seed: int
) -> tuple[dict[str, float], dict[str, dict[str, list[str]]]]:
    """Return the distances, and of each role the images that give it away and those that look most like the other."""
    rng = np.random.default_rng(derive_seed(seed, "audit sample"))
    rows = [np.sort(rng.choice(len(role), min(sample, len(role)), replace=False)) for role in roles]
    source_NK, target_NK = (features_NK[drawn] for features_NK, drawn in zip(features, rows, strict=True))
    keys = [role.table["key"].to_numpy(dtype=str)[drawn] for role, drawn in zip(roles, rows, strict=True)]
    chances = domain_probabilities(source_NK, target_NK, seed, (keys[0], keys[1]))
    telling = {}
    for role, drawn, chance, sign in zip(roles, rows, chances, (1, -1), strict=True):
        ids = role.table["id"].to_numpy()[drawn]
        order = np.argsort(sign * chance, kind="stable")[: 0 if np.isnan(chance).any() else len(chance)]
        telling[role.name] = {"own": ids[order[:SHOWN]].tolist(), "other": ids[order[::-1][:SHOWN]].tolist()}
    return {
        **separation(*chances),
        **mmd(source_NK, target_NK, permutations, seed),
        "frechet_distance": frechet_distance(source_NK, target_NK),
    }, telling


def _skew(
    source: Role, target: Role, features: Sequence[np.ndarray], domain_auc: float, seed: int
) -> dict[str, dict[str, Any] | list[dict[str, Any]]]:
    """Return labels that go together, and how frequent the source's classes seem to be in the target."""
    in_source, in_target = (
        [name for name, kind in kinds_of(role).items() if KINDS[kind].has_classes] for role in (source, target)
    )
    of_both = [
        name for name in dict.fromkeys([*in_source, *in_target]) if name in source.labels and name in target.labels
    ]
    keys_N = source.table["key"].to_numpy(dtype=str)
    priors = {
        name: estimated_prior(features[0], source.label(name), keys_N, features[1], domain_auc, seed)
        for name in in_source
    }
    return {"label_pairs": joint.pairs(source, target, of_both, seed), "priors": priors}
