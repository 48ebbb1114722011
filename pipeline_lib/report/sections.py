"""The content of each section of the report, as the plain values that its template lays out."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.data.roles import Role
from pipeline_lib.report.charts import Series, line_chart, linear_axis, tight_axis
from pipeline_lib.report.pictures import data_uri, tile_side

MOST_LISTED = 40  # quarantined files of a dataset
MOST_CLASSES = 60  # whose shares are drawn, the largest
MOST_SUSPECTS = 18  # pictures with a suspected label error, a label
MOST_TWINS = 8
LEVELS = ("blocking", "warning", "info")
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


def checks(audit: Mapping[str, Any], roles: Mapping[str, Role]) -> dict[str, Any]:
    """Return findings in order of weight, counts, class shares side by side, and what was quarantined."""
    names = dict.fromkeys(name for described in audit["sets"].values() for name in described["labels"])
    return {
        "findings": sorted(audit["findings"], key=lambda finding: LEVELS.index(finding["level"])),
        "labels": [_label_shares(name, audit) for name in names],
        "counts": [row for role, described in audit["sets"].items() for row in _counts(role, described)],
        "quarantined": [
            {
                "dataset": name,
                "listed": card["quarantined"][:MOST_LISTED],
                "others": max(0, len(card["quarantined"]) - MOST_LISTED),
            }
            for name, card in _cards(roles).items()
            if card["quarantined"]
        ],
    }


def cards(roles: Mapping[str, Role]) -> list[dict[str, Any]]:
    """Return the card of every dataset, with the roles that it plays."""
    return [
        {**card, "name": name, "roles": [role for role, one in roles.items() if name in one.cards]}
        for name, card in _cards(roles).items()
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
    """Return counts of near duplicates with pairs of pictures: across the sets, and of each set across its splits."""
    places = [("in source and target", audit["near_duplicates_across"], (roles["source"], roles["target"]))]
    for name, role in roles.items():
        places.append((f"in train and test split of the {name}", audit["sets"][name]["near_leaks"], (role, role)))
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


def curves(tables: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Return small multiples for each stage: a chart for each column of its table of epochs.

    A column of text (such as the model's name) splits the rows into lines of one chart. Names such as "pretrain/0" are
    of one stage in trainings with several seeds.
    """
    stages: dict[str, list[dict[str, Any]]] = {}
    for name, table in tables.items():
        if "epoch" not in table:
            continue
        stage, _, seed = name.partition("/")
        numeric = [name for name in table.select_dtypes("number") if name != "epoch" and table[name].notna().any()]
        keys = [name for name in table if name != "epoch" and name not in table.select_dtypes("number")]
        groups = [("", table)]
        if keys:
            groups = [(" ".join(map(str, key)), part) for key, part in table.groupby(keys, sort=False, dropna=False)]
        charts = [{"column": column, "drawing": _curve(name, column, groups)} for column in numeric]
        stages.setdefault(stage, []).append({"seed": seed, "names": [name for name, _ in groups], "charts": charts})
    return [{"stage": stage, "trainings": trainings} for stage, trainings in stages.items()]


def settings(text: str) -> list[dict[str, Any]]:
    """Split params.yaml into its blocks, each line into setting and comment."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [re.fullmatch(r"(.*?)(?:(?:^|\s+)#\s?(.*))?", line) for line in block.split("\n")]
        parts = [{"setting": line[1].rstrip(), "comment": line[2] or ""} for line in lines if line]
        blocks.append({"lines": parts})
    return blocks


def _cards(roles: Mapping[str, Role]) -> dict[str, Mapping[str, Any]]:
    """Return the cards of all datasets; one that plays both roles has one."""
    return {name: card for role in roles.values() for name, card in role.cards.items()}


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
    counts = {
        role: dict(zip(label.get("classes", []), label.get("counts", []), strict=True))
        for role, label in described.items()
    }
    totals = Counter[str]()
    for count in counts.values():
        totals.update(count)
    shares = {role: {c: n / max(sum(count.values()), 1) for c, n in count.items()} for role, count in counts.items()}
    most = max((share for part in shares.values() for share in part.values()), default=1.0) or 1.0
    largest = {one for one, _ in totals.most_common(MOST_CLASSES)}
    rows = [
        {
            "name": one,
            **{
                role: {"count": counts[role].get(one, 0), "width": round(100 * shares[role].get(one, 0) / most, 1)}
                for role in counts
            },
        }
        for one in totals
        if one in largest
    ]
    return {"name": name, "described": described, "rows": rows, "num_classes": len(totals)}


def _curve(stage: str, column: str, groups: Sequence[tuple[str, pd.DataFrame]]) -> Any:
    lines = [Series(name, part["epoch"].tolist(), part[column].astype(float).tolist()) for name, part in groups]
    x = tight_axis(epoch for line in lines for epoch in line.x)
    y = linear_axis(value for line in lines for value in line.y)
    return line_chart(f"{column} of {stage} by epoch", lines, x, y, height=130, names=False)


def _picture(role: Role, name: str) -> str | None:
    rows = np.flatnonzero(role.table["id"].to_numpy() == name)
    if not len(rows):
        return None
    return data_uri(role.images[rows[:1]], 1, tile_side(1, role.images.shape[1]))
