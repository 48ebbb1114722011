"""From the long lists of results to the rows of tables, with the best of each column or row marked."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
LOWER_IS_BETTER = ("error", "loss", "mae", "mse", "rmse", "distance")


def distinct(records: Iterable[Record], key: str) -> list[Any]:
    """Return the values of ``key`` in order of first appearance."""
    return list(dict.fromkeys(record[key] for record in records))


def best_of(values: Sequence[float | None], lower: bool = False) -> list[bool]:
    """Say for each value whether it is the best, to the three digits that are shown; among equals none is."""
    rounded = [round(value, 3) if value is not None and is_number(value) else None for value in values]
    known = [value for value in rounded if value is not None]
    if len(set(known)) < 2:
        return [False] * len(values)
    best = min(known) if lower else max(known)
    return [value == best for value in rounded]


def is_number(value: Any) -> bool:
    """Say whether ``value`` is a finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def lower_is_better(metric: str) -> bool:
    """Say whether a smaller value of the metric is the better one."""
    return any(word in metric.lower() for word in LOWER_IS_BETTER)


def by_model(records: Sequence[Record], baseline: str | None = None) -> dict[str, Any]:
    """Pivot records of (model, label, metric, value, low, high): one row a label and metric, one column a model.

    A cell is "best" of its row, and "worse" if its interval lies on the wrong side of that of the ``baseline``.
    """
    models = distinct(records, "model")
    rows = []
    for label, metric in dict.fromkeys((record["label"], record["metric"]) for record in records):
        of_row = {r["model"]: r for r in records if (r["label"], r["metric"]) == (label, metric)}
        cells = [of_row.get(model, {"value": None}) for model in models]
        best = best_of([cell["value"] for cell in cells], lower_is_better(metric))
        rows.append(
            {
                "label": label,
                "metric": metric,
                "cells": [
                    {**cell, "best": flag, "worse": _is_worse(cell, of_row.get(baseline or ""), metric)}
                    for cell, flag in zip(cells, best, strict=True)
                ],
            }
        )
    return {"models": models, "rows": rows}


def _is_worse(cell: Record, baseline: Record | None, metric: str) -> bool:
    ends = [float(one[end]) for one in (cell, baseline or {}) for end in ("low", "high") if is_number(one.get(end))]
    if len(ends) < 4:
        return False
    low, high, base_low, base_high = ends
    return low > base_high if lower_is_better(metric) else high < base_low


def marked(records: Sequence[Record], columns: Iterable[str]) -> list[dict[str, Any]]:
    """Return the records with a key "best": which of ``columns`` are the highest of their column."""
    flags = {column: best_of([record.get(column) for record in records]) for column in columns}
    return [
        {**record, "best": [column for column in flags if flags[column][row]]} for row, record in enumerate(records)
    ]


def projection_quality(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Put the scores of all methods of a representation into one row, keyed ``<method>_<score>``."""
    rows: dict[str, dict[str, Any]] = {}
    for record in records:
        row = rows.setdefault(record["representation"], {"representation": record["representation"]})
        row |= {f"{record['method']}_{score}": record[score] for score in ("trustworthiness", "continuity")}
    columns = {key for row in rows.values() for key in row} - {"representation"}
    return marked(list(rows.values()), sorted(columns))


def number(value: Any, digits: int = 3) -> str:
    """Return a number for a table: whole ones with thousands separated, others with ``digits`` decimals."""
    if not is_number(value):
        return "\N{EN DASH}"
    if isinstance(value, int):
        return f"{value:,}"
    if value and abs(value) < 0.5 * 10**-digits:
        return f"{value:.1e}".replace("-", "\N{MINUS SIGN}")
    return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def points(value: Any) -> str:
    """Return a gain in hundredths, with its sign."""
    if not is_number(value):
        return "\N{EN DASH}"
    text = f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")
    return text if text.strip("+\N{MINUS SIGN}") != "0.0" else "0.0"


def sentence(text: str) -> str:
    """Return ``text`` with a capital at its beginning."""
    return text[:1].upper() + text[1:]
