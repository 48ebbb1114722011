"""The table of who helps whom, as the plain values that its template lays out."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.report.words import MINUS

MOST_LABELS = 12  # in a table that can be read


def affinity(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return labels and the cells of each, or None where nothing was measured.

    Of many labels those are shown which give or take the most.
    """
    names = list(dict.fromkeys(row["of"] for row in rows))
    others = [row for row in rows if row["of"] != row["to"]]
    most = {
        name: max((abs(row["value"]) for row in others if name in (row["of"], row["to"])), default=0.0)
        for name in names
    }
    shown = set(sorted(names, key=lambda name: -most[name])[:MOST_LABELS])
    labels = [name for name in names if name in shown]
    cells = {(row["of"], row["to"]): _cell(row) for row in rows}
    told = [_cell(row)["word"] for row in others]
    if not others:
        return None
    return {
        "labels": labels,
        "num_hidden": len(names) - len(labels),
        "cells": cells,
        "counts": {word: told.count(word) for word in ("helps", "harms", "unclear")},
    }


def _cell(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = row["low"], row["high"]
    has_interval = low is not None and high is not None
    word = "helps" if has_interval and low > 0 else "harms" if has_interval and high < 0 else "unclear"
    return {
        "own": row["of"] == row["to"],
        "value": _per_mille(row["value"]),
        "interval": f"{_per_mille(low)} to {_per_mille(high)}" if has_interval else "",
        "word": word,
    }


def _per_mille(share: float) -> str:
    """Return a share in thousandths, with its sign."""
    return f"{1000 * share:+.2f}".replace("-", MINUS)
