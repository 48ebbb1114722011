"""Labels as columns of a dataset's table: what cells say, and what a column holds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from pipeline_lib.core.errors import UserError, nearest, shown
from pipeline_lib.data.samples import LABEL, Reading
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import is_missing
from pipeline_lib.labels.multilabel import split as tags_of

# What a column may say beside labels: which images belong together.
GROUP = "group"


def wanted(labels: Sequence[str], columns: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns that a reader has to look for: ``columns`` says which are not called as their label is.

    It may say which column is the group, too.
    """
    return tuple(dict.fromkeys([*(columns.get(name, name) for name in labels), *columns.values()]))


def renamed(reading: Reading, labels: Sequence[str], columns: Mapping[str, str]) -> Reading:
    """Return a reading of :func:`wanted` columns with its labels, and the group, under their own names.

    Raises UserError for a column that is not there.
    """
    if not columns:
        return reading
    there = [*reading.labels, *reading.measures]
    for name, column in columns.items():
        if column not in there:
            what = f"the label '{name}'" if name in labels else f"the {name}"
            raise UserError(
                f"columns says that {what} is the column {shown(column)}, which is not there"
                f"{nearest(column, [*there, *reading.others])}"
            )
    samples = reading.samples
    if GROUP in columns and GROUP not in labels:
        samples = [replace(sample, group=sample.labels.get(columns[GROUP])) for sample in samples]
    said = {name: columns.get(name, name) for name in labels}
    has = tuple(name for name in labels if said[name] in reading.labels)
    return replace(
        reading,
        labels=has,
        samples=[replace(s, labels={name: s.labels.get(said[name]) for name in has}) for s in samples],
        measures={name: reading.measures[said[name]] for name in labels if said[name] in reading.measures},
    )


def label_column(name: str, cells: Sequence[Any], kind: str) -> tuple[pd.Series, list[str]]:
    """Return a label's column, float64 or text with nulls, and notes on what was changed.

    Raises UserError for a cell that is no label of its kind. Nothing but an empty cell, a null or a NaN that is a
    number means "not labelled"; the word "nan" does not.
    """
    values, trimmed = [], []
    for cell in cells:
        try:
            value = KINDS[kind].read(cell)
            if value is None and not is_missing(cell):
                raise ValueError("is no finite number")
        except ValueError as error:
            raise UserError(
                f"the label '{name}' holds {shown(cell)}, which {error}: correct it, leave it empty for "
                f"'not labelled', or make the label another kind than {kind}"
            ) from None
        values.append(value)
        if isinstance(cell, str) and value is not None and cell != cell.strip():
            trimmed.append(cell)
    notes = []
    if trimmed and KINDS[kind].stored == "string":
        notes.append(
            f"label '{name}': {len(trimmed)} values have blanks around them, which are left out: "
            f"{shown(trimmed[0])} is {shown(trimmed[0].strip())}"
        )
    return pd.Series(values, dtype=KINDS[kind].stored), notes


def describe(column: pd.Series, kind: str) -> dict[str, Any]:
    """Return the kind, ``num_labelled``, ``num_missing``, and ``classes`` with ``counts``, or ``mean`` and ``std``.

    Of a multilabel label the classes are its tags.
    """
    known = column.dropna()
    described = {"kind": kind, "num_labelled": len(known), "num_missing": len(column) - len(known)}
    if KINDS[kind].stored == "float64":
        return {**described, "mean": float(known.mean()), "std": float(known.std(ddof=0))}
    counts = Counter(known if KINDS[kind].has_classes else [tag for text in known for tag in tags_of(text)])
    classes = KINDS[kind].classes(known.to_numpy(dtype=object))
    # Two lists, because JSON objects are written in the order of their keys.
    return {**described, "classes": classes, "counts": [counts[name] for name in classes]}


def notes_on_missing(reading: Reading, kinds: Mapping[str, str]) -> list[str]:
    """Return a sentence for each label that a dataset does not have, with the nearest name of what it has."""
    has = [*reading.labels, *reading.measures]
    if not has and not reading.others and kinds:
        return ["nothing here is labelled"]
    return [
        f"no image here has the label '{name}', because there is no column of this name{_instead(name, kind, reading)}"
        for name, kind in kinds.items()
        if name not in has
    ]


def _instead(name: str, kind: str, reading: Reading) -> str:
    """Say which column may be meant: the one that the set has no name for, or the one whose name is near."""
    if LABEL in reading.others and KINDS[kind].has_classes:
        return f"; columns: {{{name}: {LABEL}}} would take the one that there is"
    return nearest(name, [*reading.labels, *reading.measures, *reading.others])
