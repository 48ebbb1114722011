"""The content of each section of the report, as the plain values that its template lays out."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.report.charts import (
    Series,
    forest_axis,
    forest_row,
    line_chart,
    linear_axis,
    log_axis,
    tight_axis,
)
from pipeline_lib.report.pictures import data_uri, tile_side
from pipeline_lib.report.tables import by_model, distinct, is_number, marked, number, projection_quality, sentence

LEAST_REACH = 0.02  # of the verdict's axis to either side of zero
MOST_LISTED = 40  # quarantined files
MOST_SUSPECTS = 18  # pictures with a suspected label error, a label
MOST_TWINS = 8
LEVELS = ("blocking", "warning", "info")


def verdict(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the rows with their drawing on one common axis of gains."""
    values = [row[key] for row in rows for key in ("gain", "low", "high") if is_number(row[key])]
    axis = linear_axis([-LEAST_REACH, LEAST_REACH, *values])
    drawn = [{**row, "drawing": forest_row(axis, row["gain"], row["low"], row["high"], row["outcome"])} for row in rows]
    return {"rows": drawn, "axis": forest_axis(axis), "zero": axis.at(0)}


def results(transfer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the curves and tables of what was measured."""
    probes = [probe for probe in transfer["probes"] if is_number(probe["accuracy"])]
    return {
        "efficiency": _efficiency(probes),
        "probes": _probe_table(probes),
        "adaptation": by_model([row for row in transfer["adaptation"] if is_number(row["value"])], "source_only"),
        "heads": by_model(transfer["heads"]),
        "clusterings": marked(transfer["clusterings"], ("accuracy", "nmi", "ari")),
        "projections": projection_quality(transfer["projections"]),
        "methods": distinct(transfer["projections"], "method"),
        "shift": transfer["shift"],
        "representations": transfer["representations"],
    }


def layout_note(transfer: Mapping[str, Any], representation: str, method: str) -> str:
    """Return one line on how far a projection can be trusted and how well its representation clusters."""
    parts = []
    for row in transfer["projections"]:
        if (row["representation"], row["method"]) == (representation, method):
            parts += [f"{score} {number(row[score])}" for score in ("trustworthiness", "continuity")]
    scores = [row["accuracy"] for row in transfer["clusterings"] if row["representation"] == representation]
    if known := [score for score in scores if is_number(score)]:
        parts.append(f"best clustering accuracy {number(max(known))}")
    what = {row["name"]: row["what"] for row in transfer["representations"]}.get(representation, "")
    return ". ".join(sentence(part.rstrip(".")) for part in (what, ", ".join(parts)) if part)


def checks(audit: Mapping[str, Any], cards: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return findings in order of weight, class shares side by side, and what was quarantined."""
    names = dict.fromkeys(name for card in cards.values() for name in card["labels"])
    return {
        "findings": sorted(audit["findings"], key=lambda finding: LEVELS.index(finding["level"])),
        "labels": [_label_shares(name, audit, cards) for name in names],
        "quarantined": {
            role: {
                "listed": card["quarantined"][:MOST_LISTED],
                "others": max(0, len(card["quarantined"]) - MOST_LISTED),
            }
            for role, card in cards.items()
        },
    }


def suspects(audit: Mapping[str, Any], datasets: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return, for each set and label, the pictures whose label looks most wrong."""
    found = []
    for role, described in audit["sets"].items():
        for label, errors in described["label_errors"].items():
            worst = errors["worst"][:MOST_SUSPECTS]
            pictures = [{**one, "picture": _picture(datasets[role], one["id"])} for one in worst]
            found.append({**errors, "role": role, "label": label, "worst": pictures})
    return found


def twins(audit: Mapping[str, Any], datasets: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """Return pictures that are in both sets."""
    pairs = audit["duplicates_across"]["examples"][:MOST_TWINS]
    return [
        {"source": a, "target": b, "picture": _picture(datasets["source"], a) or _picture(datasets["target"], b)}
        for a, b in pairs
    ]


def curves(tables: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Return small multiples: a chart for each column of each stage's table of epochs.

    A column of text (such as the model's name) splits the rows into lines of one chart.
    """
    stages = []
    for stage, table in tables.items():
        if "epoch" not in table:
            continue
        numeric = [name for name in table.select_dtypes("number") if name != "epoch" and table[name].notna().any()]
        keys = [name for name in table if name != "epoch" and name not in table.select_dtypes("number")]
        groups = [("", table)]
        if keys:
            groups = [(" ".join(map(str, key)), part) for key, part in table.groupby(keys, sort=False, dropna=False)]
        charts = [{"column": name, "drawing": _curve(stage, name, groups)} for name in numeric]
        stages.append({"stage": stage, "names": [name for name, _ in groups], "charts": charts})
    return stages


def settings(text: str) -> list[dict[str, Any]]:
    """Split params.yaml into its blocks, each line into setting and comment."""
    blocks = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [re.fullmatch(r"(.*?)(?:(?:^|\s+)#\s?(.*))?", line) for line in block.split("\n")]
        parts = [{"setting": line[1].rstrip(), "comment": line[2] or ""} for line in lines if line]
        blocks.append({"lines": parts})
    return blocks


def _efficiency(probes: Sequence[Mapping[str, Any]]) -> Any:
    if not probes:
        return None
    lines = []
    for name in distinct(probes, "representation"):
        rows = sorted(
            (row for row in probes if row["representation"] == name), key=lambda row: int(row["labels_per_class"])
        )
        column = {key: [row[key] for row in rows] for key in ("labels_per_class", "accuracy", "low", "high")}
        has_band = all(is_number(value) for key in ("low", "high") for value in column[key])
        band = {"low": column["low"], "high": column["high"]} if has_band else {}
        lines.append(Series(name, column["labels_per_class"], column["accuracy"], **band))
    x = log_axis(value for line in lines for value in line.x)
    y = linear_axis(value for line in lines for value in (*line.y, *line.low, *line.high))
    return line_chart(
        "Accuracy against labels a class, one line a representation",
        lines,
        x,
        y,
        height=320,
        x_label="labels a class",
        marks=True,
    )


def _probe_table(probes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    amounts = sorted(set(distinct(probes, "labels_per_class")))
    found = {(row["representation"], row["labels_per_class"]): row for row in probes}
    rows = [
        {"representation": name, **{str(k): found.get((name, k), {}).get("accuracy") for k in amounts}}
        for name in distinct(probes, "representation")
    ]
    spread = {key: row["std"] for key, row in found.items()}
    return {"amounts": amounts, "rows": marked(rows, [str(k) for k in amounts]), "spread": spread}


def _label_shares(name: str, audit: Mapping[str, Any], cards: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    described = {role: card["labels"].get(name) for role, card in cards.items()}
    counts = {
        role: dict(zip(label["classes"], label["counts"], strict=True)) if label and "classes" in label else {}
        for role, label in described.items()
    }
    classes = list(dict.fromkeys(one for count in counts.values() for one in count))
    shares = {role: {c: n / sum(count.values()) for c, n in count.items()} for role, count in counts.items()}
    most = max((share for part in shares.values() for share in part.values()), default=1.0)
    rows = [
        {
            "name": one,
            **{
                role: {"count": counts[role].get(one, 0), "width": round(100 * shares[role].get(one, 0) / most, 1)}
                for role in cards
            },
        }
        for one in classes
    ]
    measured = {role: audit["sets"].get(role, {}).get("labels", {}).get(name, {}) for role in cards}
    return {"name": name, "described": described, "rows": rows, "measured": measured}


def _curve(stage: str, column: str, groups: Sequence[tuple[str, pd.DataFrame]]) -> Any:
    lines = [Series(name, part["epoch"].tolist(), part[column].astype(float).tolist()) for name, part in groups]
    x = tight_axis(epoch for line in lines for epoch in line.x)
    y = linear_axis(value for line in lines for value in line.y)
    return line_chart(f"{column} of {stage} by epoch", lines, x, y, height=130, names=False)


def _picture(dataset: Any, name: str) -> str | None:
    rows = np.flatnonzero(dataset.table["id"].to_numpy() == name)
    if not len(rows):
        return None
    return data_uri(np.asarray(dataset.images[rows[:1]]), 1, tile_side(1, dataset.images.shape[1]))
