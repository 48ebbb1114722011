"""How often the answers of a label with classes are right, by how sure they were: reliability diagrams."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline_lib.evaluate.declared import SOURCE_ONLY
from pipeline_lib.evaluate.judge import Judge
from pipeline_lib.evaluate.predictions import Predictions
from pipeline_lib.labels.tasks import Task
from pipeline_lib.stats.calibration import by_chance, calibration_error, reliability

Row = dict[str, Any]
# In 95 of 100 draws chance shows no greater error; a bin's share lies in between.
ERROR_QUANTILE, BIN_QUANTILES = 0.95, (0.025, 0.975)


def reliabilities(
    task: Task | None,
    judge: Judge | None,
    predictions: Predictions,
    ids: np.ndarray,
    use: str,
    choices: Sequence[Mapping[str, Any]],
    seed: int,
) -> list[Row]:
    """Return a diagram for the model before adaptation and for ``use``, unless all ``choices`` handed on the former.

    There is none without a label of classes that ``judge`` can score. ``ids`` are those of all target images. A row has
    the calibration error, the mean over trainings, and the means of confidence and of right answers; ``bins`` are from
    0 to 1 and hold the answers of all trainings. Beside the error (``error_by_chance``: its mean and ``high``, what 95
    of 100 draws do not exceed) and in each bin (``low`` to ``high``, of 95 of 100) is what chance alone would show if
    every confidence were exactly right.
    """
    if task is None or judge is None or not judge.kind.has_classes or judge.problem:
        return []
    models = [SOURCE_ONLY] if all(one["chosen"] == SOURCE_ONLY for one in choices) else [SOURCE_ONLY, use]
    own, found = ids[judge.rows], []
    for model in (model for model in models if (model, task.name) in predictions.models):
        sure_TN = np.stack(predictions.confidences(model, task.name, own))
        right_TN = np.stack(
            [answer_N == judge.truth_N for (answer_N,) in predictions.answers(model, task.name, task.kind, own)]
        )
        chance = by_chance(sure_TN, judge.group_N, seed)
        errors = [calibration_error(*one) for one in zip(sure_TN, right_TN, strict=True)]
        low_B, high_B = np.quantile(chance.right_SB, BIN_QUANTILES, axis=0)
        found.append(
            {
                "model": model,
                "num_images": len(own),
                "num_trainings": len(sure_TN),
                "confidence": float(sure_TN.mean()),
                "accuracy": float(right_TN.mean()),
                "calibration_error": float(np.mean(errors)),
                "error_by_chance": {
                    "mean": float(chance.errors_S.mean()),
                    "high": float(np.quantile(chance.errors_S, ERROR_QUANTILE)),
                },
                "bins": [
                    {"confidence": sure, "accuracy": right, "num_answers": int(count), "low": low, "high": high}
                    for (sure, right, count), low, high in zip(
                        reliability(sure_TN.ravel(), right_TN.ravel()).tolist(),
                        low_B.tolist(),
                        high_B.tolist(),
                        strict=True,
                    )
                ],
            }
        )
    return found
