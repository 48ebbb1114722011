"""From the long lists of results to the rows of tables, with the best of each column or row marked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline_lib.report.words import is_number

Record = Mapping[str, Any]


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


def by_model(records: Sequence[Record]) -> dict[str, Any]:
    """Pivot scores: one row a label and metric with the constant answer's, one cell a model.

    A cell is "best" of its row, in hindsight, if it is also better than the constant answer: by its whole interval
    where it has one.
    """
    models = distinct(records, "model")
    rows = []
    for label, metric in dict.fromkeys((record["label"], record["metric"]) for record in records):
        of_row = {r["model"]: r for r in records if (r["label"], r["metric"]) == (label, metric)}
        first = next(iter(of_row.values()))
        cells = [of_row.get(model, {"value": None, "low": None, "high": None}) for model in models]
        best = best_of([cell["value"] for cell in cells], lower=not first["higher_is_better"])
        rows.append(
            {
                **{key: first[key] for key in ("label", "metric", "main", "constant", "higher_is_better")},
                "cells": [
                    {**cell, "best": flag and _beats(cell, first)} for cell, flag in zip(cells, best, strict=True)
                ],
            }
        )
    return {"models": models, "rows": rows}


def _beats(cell: Record, row: Record) -> bool:
    """Say whether the worse end of a cell's interval is still better than the row's constant answer."""
    sign = 1 if row["higher_is_better"] else -1
    ends = [sign * cell[key] for key in ("value", "low", "high") if is_number(cell[key])]
    return is_number(row["constant"]) and min(ends) > sign * row["constant"]


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
