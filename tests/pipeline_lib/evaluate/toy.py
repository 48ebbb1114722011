"""Truths, models that are right about so often, and what an evaluation makes of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.evaluate.judge import Judge
from pipeline_lib.evaluate.predictions import Predictions
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.tasks import Task

COUNTS = {"source_train": 90, "source_test": 0, "target_train": 0, "target_test": 120}


def task(values: np.ndarray, kind: str = "multiclass", name: str = "label", learn_from: Any = "source") -> Task:
    spec = KINDS[kind].describe(values) if learn_from != "nothing" else {}
    return Task(name, kind, learn_from, {key: spec[key] for key in spec if key != "problem"}, COUNTS)


def truth(num: int = 120, classes: str = "abc", seed: int = 0) -> np.ndarray:
    """Return balanced classes in random order, object ``[N]``."""
    named = np.array([classes[row % len(classes)] for row in range(num)], dtype=object)
    return np.random.default_rng(seed).permutation(named)


def judge_of(values: np.ndarray, kind: str = "multiclass", keys: Sequence[str] | None = None, **changes: Any) -> Judge:
    """Return the judge of all images, each a group of its own where there are no ``keys``."""
    keys = [f"image {row}" for row in range(len(values))] if keys is None else keys
    return Judge(task(values, kind, **changes), values, np.array(keys, dtype=object), np.arange(len(values)), seed=0)


def right_share(values: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """Return answers of which about this share is right, the others another class at random."""
    rng = np.random.default_rng(seed)
    classes = sorted(set(values))
    others = np.array([rng.choice([name for name in classes if name != value]) for value in values], dtype=object)
    return np.where(rng.random(len(values)) < share, values, others)


def predictions_of(answers: Mapping[tuple[str, str], Sequence[Any]], ids: Sequence[str], times: int = 1) -> Predictions:
    """Return the tables of ``times`` trainings that all gave these ``answers``, by model and label."""
    answered = ["predicted_class", "predicted_value", "confidence", "probabilities"]
    tables = [pd.DataFrame(columns=["id", "model", "label", *answered])]
    for (model, label), values in answers.items():
        numbers = isinstance(values[0], float)
        tables.append(
            pd.DataFrame(
                {
                    "id": ids,
                    "model": model,
                    "label": label,
                    "predicted_class": pd.array([None] * len(ids) if numbers else values, dtype="string"),
                    "predicted_value": values if numbers else np.nan,
                    "confidence": np.nan if numbers else 0.9,
                    "probabilities": None,
                }
            )
        )
    return Predictions([pd.concat(tables)] * times)
