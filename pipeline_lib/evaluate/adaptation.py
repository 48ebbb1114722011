"""How the adapter was chosen, and in hindsight: which one the target's labels would have chosen, and at what loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline_lib.evaluate.declared import SOURCE_ONLY
from pipeline_lib.evaluate.judge import Judge
from pipeline_lib.evaluate.predictions import Predictions
from pipeline_lib.labels.tasks import Task


def adaptation(
    choices: Sequence[Mapping[str, Any]],
    task: Task | None,
    judge: Judge | None,
    predictions: Predictions,
    ids: np.ndarray,
) -> dict[str, Any]:
    """Return what each training chose and why, and a row a candidate; labels of the target enter here and not before.

    ``choices`` are what the adaptations of the trainings left, in their order: ``label``, ``chosen``, ``reason`` and a
    mapping of ``scores`` and one of ``ranks`` by candidate. ``judge`` is that of the label on the target, whose test
    images have the ``ids``; without one nothing is known in hindsight. A row has the means over the trainings: of the
    label's main score (``value``), of its difference from the model before (``difference``, above zero is better), of
    that of the class it did most harm to (``worst_class``: the recall of :class:`Task`'s classes) and of the rank.
    ``regret`` is the score that is lost against the best candidate of a training, at least 0.
    """
    found: dict[str, Any] = {"label": task.name if task else None, "metric": None, "candidates": [], "choices": []}
    if task is None:
        return {**found, "choices": [{**choice, "oracle": None, "regret": None} for choice in choices]}
    names = [model for model, label in predictions.models if label == task.name and model in choices[0]["ranks"]]
    values: dict[str, np.ndarray] = {}
    recalls: dict[str, np.ndarray] = {}
    if judge is not None and not judge.problem:
        found |= {"metric": judge.kind.main, "higher_is_better": judge.kind.higher_is_better}
        for model in names:
            answers = predictions.answers(model, task.name, task.kind, ids[judge.rows])
            values[model] = judge.replicates(answers).values_SR.mean(axis=1)
            recalls[model] = np.array([_recalls(judge, draws[0]) for draws in answers])
    sign = 1 if judge is None or judge.kind.higher_is_better else -1
    found["candidates"] = [
        {
            "model": model,
            "value": _mean(values.get(model)),
            "difference": _mean(sign * (values[model] - values[SOURCE_ONLY])) if values else None,
            "worst_class": _mean((recalls[model] - recalls[SOURCE_ONLY]).min(axis=1)) if recalls else None,
            "rank": _mean([choice["ranks"].get(model, np.nan) for choice in choices]),
            "chosen": sum(choice["chosen"] == model for choice in choices),
        }
        for model in names
    ]
    for number, choice in enumerate(choices):
        of_training = {model: float(sign * each[number]) for model, each in values.items()}
        oracle = max(of_training, key=lambda model: of_training[model]) if of_training else None
        regret = of_training[oracle] - of_training[choice["chosen"]] if oracle else None
        found["choices"].append({**choice, "oracle": oracle, "regret": regret})
    return found


def _recalls(judge: Judge, answer_N: np.ndarray) -> np.ndarray:
    """Return the share of right answers in each class that is judged; of all images where there are none."""
    classes = judge.kind.judged(judge.truth_N, judge.spec)
    right_N = answer_N == judge.truth_N
    return np.array([right_N[judge.truth_N == name].mean() for name in classes] if classes else [right_N.mean()])


def _mean(values: Any) -> float | None:
    known = np.asarray([] if values is None else values, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else None
