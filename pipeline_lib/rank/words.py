"""What a ranking says, in a sentence and as a table."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Candidates = Sequence[Mapping[str, Any]]


def first_of(candidates: Candidates) -> list[str]:
    """Return the names of those that may be the first: whose interval of ranks overlaps that of the first."""
    return [one["name"] for one in candidates if one["low"] <= candidates[0]["high"]]


def sentence(candidates: Candidates, best: str, them: str) -> str:
    """Say which candidate is the ``best`` of ``them``, or that it cannot be told; they are in a ranking's order."""
    first = first_of(candidates)
    ranks = {one["name"]: f"'{one['name']}' (rank {_span(one)})" for one in candidates}
    named = [ranks[name] for name in first]
    others = [ranks[name] for name in ranks if name not in first]
    after = f"; after {'it' if len(first) == 1 else 'them'}: {', '.join(others)}" if others else ""
    if len(first) == 1:
        return f"the {best} of {len(candidates)} {them} is {named[0]}{after}"
    return (
        f"which of {len(candidates)} {them} is the {best} cannot be told: the ranks of {', '.join(named[:-1])} and "
        f"{named[-1]} overlap{after}"
    )


def table(candidates: Candidates) -> list[str]:
    """Return lines with the rank of each candidate, its interval, and the values of its scores."""
    scores = list(candidates[0]["scores"])
    rows = [["rank", "", *scores]]
    for one in candidates:
        values = [one["scores"][score]["value"] for score in scores]
        shown = ["-" if math.isnan(value) else f"{value:.4g}" for value in values]
        rows.append([_span(one), one["name"], *shown])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def foretold(candidates: Candidates, score: str, what: str) -> str:
    """Say what each candidate already reaches by a score in 0-1, ``what`` in words, the best first."""
    reached = {one["name"]: one["scores"][score]["value"] for one in candidates}
    known = sorted((name for name in reached if not math.isnan(reached[name])), key=lambda name: -reached[name])
    told = ", ".join(f"{reached[name]:.1%} on '{name}'" for name in known)
    return f"before any training {what} is {told or 'not known'}: pretraining has to beat that"


def _span(one: Mapping[str, Any]) -> str:
    return f"{one['low']:g}" if one["low"] == one["high"] else f"{one['low']:g} to {one['high']:g}"
