"""Whoever has which labels, every run goes through: eight shapes of labels on the toy project, stage by stage."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.declaration import read_stages
from tasks.stage import run
from tests.toy import edit_params, make_project, merge

LABELS = ["shape", "filled", "area"]
Tables = dict[str, pd.DataFrame]


def without(dataset: str, *labels: str) -> Callable[[Tables], None]:
    """A shape that takes labels away from one of the tables."""

    def edit(tables: Tables) -> None:
        tables[dataset] = tables[dataset].drop(columns=list(labels))

    return edit


def neither(tables: Tables) -> None:
    for dataset in tables:
        without(dataset, *LABELS)(tables)


def different_tasks(tables: Tables) -> None:
    without("drawn", "shape")(tables)
    without("printed", "filled", "area")(tables)


def half_missing(tables: Tables) -> None:
    rng = np.random.default_rng(0)
    for table in tables.values():
        for name in LABELS:
            table[name] = table[name].where(rng.random(len(table)) < 0.5)


def rare_class(tables: Tables) -> None:
    for table in tables.values():
        rare = table.index[table["shape"] == "circle"]
        table.loc[rare[3:], "shape"] = "square"


def groups(tables: Tables) -> None:
    for table in tables.values():
        table["group"] = [f"hand {row % 11}" for row in range(len(table))]


# What is done to the tables, and the cell of each label.
BOTH, SOURCE_ONLY, TARGET_ONLY, NEITHER = "multi-task and transductive", "transductive", "inductive", "unsupervised"
SHAPES: Mapping[str, tuple[Callable[[Tables], None], list[str]]] = {
    "both": (lambda tables: None, [BOTH] * 3),
    "source_only": (without("printed", *LABELS), [SOURCE_ONLY] * 3),
    "target_only": (without("drawn", *LABELS), [TARGET_ONLY] * 3),
    "neither": (neither, [NEITHER] * 3),
    "different_tasks": (different_tasks, [TARGET_ONLY, SOURCE_ONLY, SOURCE_ONLY]),
    "half_missing": (half_missing, [BOTH] * 3),
    "rare_class": (rare_class, [BOTH] * 3),
    "groups": (groups, [BOTH] * 3),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_stage_runs(shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit, cells = SHAPES[shape]
    monkeypatch.chdir(make_project(tmp_path / "project"))
    edit_params(
        Path(), partial(merge, changes={"pretrain": {"epochs": 1}, "heads": {"epochs": 1}, "adapt": {"epochs": 1}})
    )
    files = {name: Path(f"pictures/{name}/labels.csv") for name in ("drawn", "printed")}
    tables = {name: pd.read_csv(file) for name, file in files.items()}
    edit(tables)
    for name, file in files.items():
        tables[name].to_csv(file, index=False)
    for address, stage in read_stages().items():
        module, *words = stage.cmd.split()[2:]
        body: Any = import_module(module).run
        if words:
            given = {"dataset": words[0]} if address.startswith("ingest") else {"training": int(words[0])}
            body = partial(body, **given)
        run(address, body)
    evaluation = json.loads(Path("reports/evaluation.json").read_text())
    assert [task["cell"] for task in evaluation["tasks"]] == cells
    kinds = {row["kind"] for row in evaluation["comparisons"]}
    assert kinds == {"self-taught", "multi-task", "transductive", "unsupervised"}
    # What cannot be measured says why, and what is measured needs no excuse.
    assert all((row["reason"] is None) == (row["value"] is not None) for row in evaluation["comparisons"])
    verdict, evaluation = (json.loads(Path(f"reports/{name}.json").read_text()) for name in ("verdict", "evaluation"))
    primary = [one for one in evaluation["worth"] if one["label"] == evaluation["primary"] and one["answer"]]
    assert len(verdict["lines"]) == (6 if primary else 5)
    assert "<h1>" in Path("reports/report.html").read_text()
