"""The content of each section of the report, as the plain values that its template lays out."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipeline_lib.data.roles import Role
from pipeline_lib.report.charts import Series, line_chart, linear_axis, tight_axis


def cards(roles: Mapping[str, Role]) -> list[dict[str, Any]]:
    """Return the card of every dataset, with the roles that it plays."""
    return [
        {**card, "name": name, "roles": [role for role, one in roles.items() if name in one.cards]}
        for name, card in _cards(roles).items()
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


def _curve(stage: str, column: str, groups: Sequence[tuple[str, pd.DataFrame]]) -> Any:
    lines = [Series(name, part["epoch"].tolist(), part[column].astype(float).tolist()) for name, part in groups]
    x = tight_axis(epoch for line in lines for epoch in line.x)
    y = linear_axis(value for line in lines for value in line.y)
    return line_chart(f"{column} of {stage} by epoch", lines, x, y, height=130, names=False)
