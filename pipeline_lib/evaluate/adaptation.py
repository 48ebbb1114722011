"""How the adapter was chosen, and in hindsight: which one the target's labels would have chosen, and at what loss."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline_lib.evaluate.declared import SOURCE_ONLY
from pipeline_lib.evaluate.judge import Judge
from pipeline_lib.evaluate.predictions import Predictions
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.tasks import Task


class Bound(NamedTuple):
    """What a model reaches that is given labels of the target: the score, and how many labels a class."""

    value: float
    labels_per_class: int


def adaptation(
    choices: Sequence[Mapping[str, Any]],
    task: Task | None,
    judges: Mapping[str, Judge],
    predictions: Predictions,
    ids: Mapping[str, np.ndarray],
    bound: Bound | None = None,
) -> dict[str, Any]:
    """Return what each training chose and why, and a row a candidate; labels of the target enter here and not before.

    ``choices`` are what the adaptations of the trainings left, in their order: ``label``, ``chosen``, ``reason`` and a
    mapping of ``scores`` and one of ``ranks`` by candidate. ``judges`` are those of the label on source and target, of
    whose images the judges' rows count and which have the ``ids``; without one for the target nothing is known in
    hindsight. A row has the means over the trainings: of the label's main score (``value``), of its difference from
    the model before (``difference``, above zero is better), of that on the source (``on_source``: below zero is what
    was forgotten), of that of the class it did most harm to (``worst_class``: the recall of :class:`Task`'s classes)
    and of the rank; and the share of the gap between the model before and ``bound`` that it ``recovered``, where
    there is one. ``regret`` is the score that is lost against the best candidate of a training, at least 0.
    """
    found: dict[str, Any] = {"label": task.name if task else None, "metric": None, "candidates": [], "choices": []}
    found["bound"] = bound._asdict() if bound else None
    if task is None:
        return {**found, "choices": [{**choice, "oracle": None, "regret": None} for choice in choices]}
    names = [model for model, label in predictions.models if label == task.name and model in choices[0]["ranks"]]
    values: dict[str, dict[str, np.ndarray]] = {"source": {}, "target": {}}
    recalls: dict[str, np.ndarray] = {}
    for domain, judge in judges.items():
        if judge.problem:
            continue
        for model in names:
            answers = predictions.answers(model, task.name, task.kind, ids[domain][judge.rows])
            values[domain][model] = judge.replicates(answers).values_SR.mean(axis=1)
            if domain == "target":
                recalls[model] = np.array([_recalls(judge, draws[0]) for draws in answers])
    of_target, on_source, kind = values["target"], values["source"], KINDS[task.kind]
    sign = 1 if kind.higher_is_better else -1
    if of_target:
        found |= {"metric": kind.main, "higher_is_better": kind.higher_is_better}
    found["candidates"] = [
        {
            "model": model,
            "value": _mean(of_target.get(model)),
            "difference": _mean(sign * (of_target[model] - of_target[SOURCE_ONLY])) if of_target else None,
            "on_source": _mean(sign * (on_source[model] - on_source[SOURCE_ONLY])) if on_source else None,
            "recovered": _recovered(_mean(of_target.get(model)), _mean(of_target.get(SOURCE_ONLY)), bound, sign),
            "worst_class": _mean((recalls[model] - recalls[SOURCE_ONLY]).min(axis=1)) if recalls else None,
            "rank": _mean([choice["ranks"].get(model, np.nan) for choice in choices]),
            "chosen": sum(choice["chosen"] == model for choice in choices),
        }
        for model in names
    ]
    for number, choice in enumerate(choices):
        of_training = {model: float(sign * each[number]) for model, each in of_target.items()}
        oracle = max(of_training, key=lambda model: of_training[model]) if of_training else None
        regret = of_training[oracle] - of_training[choice["chosen"]] if oracle else None
        found["choices"].append({**choice, "oracle": oracle, "regret": regret})
    return found


def _recovered(value: float | None, before: float | None, bound: Bound | None, sign: int) -> float | None:
    """Return the share of the gap that was closed, None where there is no gap."""
    if value is None or before is None or bound is None or sign * (bound.value - before) <= 0:
        return None
    return (value - before) / (bound.value - before)


def _recalls(judge: Judge, answer_N: np.ndarray) -> np.ndarray:
    """Return the share of right answers in each class that is judged; of all images where there are none."""
    classes = judge.kind.judged(judge.truth_N, judge.spec)
    right_N = answer_N == judge.truth_N
    return np.array([right_N[judge.truth_N == name].mean() for name in classes] if classes else [right_N.mean()])


def _mean(values: Any) -> float | None:
    known = np.asarray([] if values is None else values, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else None
