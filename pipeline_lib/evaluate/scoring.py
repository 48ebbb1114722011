"""Who judges the answers on each role, and what every model scores there."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pipeline_lib.data.roles import Role
from pipeline_lib.evaluate.declared import domain_of
from pipeline_lib.evaluate.judge import Judge
from pipeline_lib.evaluate.predictions import Predictions
from pipeline_lib.evaluate.tables import score_rows
from pipeline_lib.labels.tasks import Task


def judges_of(tasks: Mapping[str, Task], role: Role, tested: np.ndarray, seed: int) -> dict[str, Judge]:
    """Return the judge of each label on the rows ``tested`` of a role."""
    return {name: judge_of(task, role, np.arange(len(role)), tested, seed) for name, task in tasks.items()}


def judge_of(task: Task, role: Role, looked_at: np.ndarray, tested: np.ndarray, seed: int) -> Judge:
    """Return the judge of a label on what is tested of the rows ``looked_at``; its rows are places among those."""
    keys, places = role.table["key"].to_numpy()[looked_at], np.flatnonzero(np.isin(looked_at, tested))
    return Judge(task, role.label(task.name)[looked_at], keys, places, seed)


def model_scores(
    tasks: Mapping[str, Task],
    judges: Mapping[str, Mapping[str, Judge]],
    heads: Predictions,
    adapted: Predictions,
    ids: Mapping[str, np.ndarray],
    target: Role,
    seed: int,
) -> list[dict[str, Any]]:
    """Return the scores of every model: on what it was held out from, and on the target, whole and by dataset."""
    rows: list[dict[str, Any]] = []
    for model, label in heads.models:
        domain = domain_of(tasks[label])
        judge = judges[domain][label]
        rows += _scored(domain, model, tasks[label], judge, heads, ids[domain][judge.rows])
    parts = {"target": judges["target"]}
    datasets = target.table["dataset"].unique()
    if len(datasets) > 1:
        test = target.rows("test")
        for dataset in datasets:
            own = test[(target.table["dataset"] == dataset).to_numpy()[test]]
            parts[dataset] = judges_of(tasks, target, own, seed)
    for domain, of_domain in parts.items():
        for model, label in adapted.models:
            judge = of_domain[label]
            rows += _scored(domain, model, tasks[label], judge, adapted, ids["target"][judge.rows])
    return rows


def _scored(
    domain: str, model: str, task: Task, judge: Judge, predictions: Predictions, ids: np.ndarray
) -> Iterator[dict[str, Any]]:
    said = (
        predictions.answers(model, task.name, task.kind, ids),
        predictions.confidences(model, task.name, ids),
        predictions.probabilities(model, task.name, ids),
    )
    return score_rows(domain, model, task.name, judge, *said)
