"""The content of the sections of the audit's page, as the plain values that its template lays out."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pipeline_lib.data.roles import Role
from pipeline_lib.report.pictures import data_uri, tile_side

MOST_LISTED = 40  # quarantined files of a dataset
MOST_CLASSES = 60  # whose shares are drawn, the largest
MOST_SUSPECTS = 18  # pictures with a label that looks wrong, a label
MOST_SHOWN = 9  # pictures of one kind
MOST_TWINS = 8
AVERAGED = 2000  # images of a set whose mean is shown
COUNTS = (
    "num_images",
    "train",
    "test",
    "moved",
    "quarantined",
    "blank",
    "duplicates_within",
    "duplicates_across_splits",
)


def counts(audit: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the counts of each role, and of each of its datasets where there are several."""
    return [row for role, described in audit["sets"].items() for row in _counts(role, described)]


def labels(audit: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the shares of the classes of each label side by side, and what its frequency in the target seems to be."""
    names = dict.fromkeys(name for described in audit["sets"].values() for name in described["labels"])
    return [{**_label_shares(name, audit), "prior": audit["priors"].get(name)} for name in names]


def quarantined(roles: Mapping[str, Role]) -> list[dict[str, Any]]:
    """Return the files of each dataset that stayed out."""
    cards = {name: card for role in roles.values() for name, card in role.cards.items()}
    return [
        {
            "dataset": name,
            "listed": card["quarantined"][:MOST_LISTED],
            "others": max(0, len(card["quarantined"]) - MOST_LISTED),
        }
        for name, card in cards.items()
        if card["quarantined"]
    ]


def suspects(audit: Mapping[str, Any], roles: Mapping[str, Role]) -> list[dict[str, Any]]:
    """Return, for each set and label, the pictures whose label looks most wrong."""
    found = []
    for role, described in audit["sets"].items():
        for label, errors in described["label_errors"].items():
            worst = errors["worst"][:MOST_SUSPECTS]
            pictures = [{**one, "picture": _picture(roles[role], one["id"])} for one in worst]
            found.append({**errors, "role": role, "label": label, "worst": pictures})
    return found


def twins(audit: Mapping[str, Any], roles: Mapping[str, Role]) -> list[dict[str, str | None]]:
    """Return pictures that are in both sets."""
    pairs = audit["duplicates_across"]["examples"][:MOST_TWINS]
    return [
        {"source": a, "target": b, "picture": _picture(roles["source"], a) or _picture(roles["target"], b)}
        for a, b in pairs
    ]


def near_twins(audit: Mapping[str, Any], roles: Mapping[str, Role]) -> list[dict[str, Any]]:
    """Return counts of near duplicates with pairs of pictures: across the sets, and of each set within and across."""
    places = [("in source and target", audit["near_duplicates_across"], (roles["source"], roles["target"]))]
    for name, role in roles.items():
        described = audit["sets"][name]
        places.append((f"in train and test split of the {name}", described["near_leaks"], (role, role)))
        places.append((f"within the {name}", described["near_duplicates_within"], (role, role)))
    return [
        {
            **near,
            "place": place,
            "pairs": [
                {"ids": pair, "pictures": [_picture(role, one) for role, one in zip(of, pair, strict=True)]}
                for pair in near["examples"][:MOST_TWINS]
            ],
        }
        for place, near, of in places
    ]


def telling(audit: Mapping[str, Any], roles: Mapping[str, Role]) -> list[dict[str, Any]]:
    """Return of each set its mean image, and pictures that give it away and that pass for the other set's."""
    return [
        {
            "role": name,
            "mean": _mean(role),
            "levels": list(zip(role.mean, role.std, strict=True)),
            "own": _pictures(role, audit["telling"][name]["own"]),
            "other": _pictures(role, audit["telling"][name]["other"]),
        }
        for name, role in roles.items()
    ]


def poor(audit: Mapping[str, Any], roles: Mapping[str, Role]) -> list[dict[str, Any]]:
    """Return pictures of each check of quality that found something."""
    return [
        {"role": role, "check": check, "count": found["count"], "pictures": _pictures(roles[role], found["examples"])}
        for role, described in audit["sets"].items()
        for check, found in described["quality"]["poor"].items()
        if found["count"]
    ]


def _counts(role: str, described: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the counts of a role, and of each of its datasets where there are several."""
    parts = described["datasets"] if len(described["datasets"]) > 1 else {}
    splits = {split: sum(one[split] for one in described["datasets"].values()) for split in ("train", "test")}
    return [
        {"name": name, "is_part": is_part, "values": [one.get(key) for key in COUNTS]}
        for name, is_part, one in [
            (role, False, {**described, **splits}),
            *((name, True, one) for name, one in parts.items()),
        ]
    ]


def _label_shares(name: str, audit: Mapping[str, Any]) -> dict[str, Any]:
    described = {role: one["labels"].get(name, {}) for role, one in audit["sets"].items()}
    numbers = {
        role: dict(zip(label.get("classes", []), label.get("counts", []), strict=True))
        for role, label in described.items()
    }
    totals = Counter[str]()
    for count in numbers.values():
        totals.update(count)
    shares = {role: {c: n / max(sum(count.values()), 1) for c, n in count.items()} for role, count in numbers.items()}
    most = max((share for part in shares.values() for share in part.values()), default=1.0) or 1.0
    largest = {one for one, _ in totals.most_common(MOST_CLASSES)}
    rows = [
        {
            "name": one,
            **{
                role: {"count": numbers[role].get(one, 0), "width": round(100 * shares[role].get(one, 0) / most, 1)}
                for role in numbers
            },
        }
        for one in totals
        if one in largest
    ]
    return {"name": name, "described": described, "rows": rows, "num_classes": len(totals)}


def _picture(role: Role, name: str) -> str | None:
    rows = np.flatnonzero(role.table["id"].to_numpy() == name)
    if not len(rows):
        return None
    return data_uri(role.images[rows[:1]], 1, tile_side(1, role.images.shape[1]))


def _pictures(role: Role, ids: Iterable[str]) -> list[dict[str, str | None]]:
    return [{"id": one, "picture": _picture(role, one)} for one in list(ids)[:MOST_SHOWN]]


def _mean(role: Role) -> str | None:
    """Return the mean of images that are spread over the set, as a picture."""
    if not len(role):
        return None
    rows = np.linspace(0, len(role) - 1, min(AVERAGED, len(role))).round().astype(np.int64)
    total = np.zeros(role.images.shape[1:], np.int64)
    for row in rows:
        total += role.images[int(row)]
    return data_uri((total / len(rows)).round().astype(np.uint8)[None], 1, tile_side(1, role.images.shape[1]))
