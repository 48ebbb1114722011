"""What models predicted in each training, laid beside the images that score."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline_lib.evaluate.judge import Answers
from pipeline_lib.labels import KINDS


class Predictions:
    """The tables of predictions that :func:`~pipeline_lib.heads.predictions.prediction_table` makes, one a training."""

    def __init__(self, tables: Sequence[pd.DataFrame]) -> None:
        keys = ["model", "label"]
        self._parts = [{key: part.set_index("id") for key, part in table.groupby(keys, sort=False)} for table in tables]

    @property
    def models(self) -> list[tuple[str, str]]:
        """The pairs of model and label that there are predictions of."""
        return [(str(model), str(label)) for model, label in self._parts[0]]

    def answers(self, model: str, label: str, kind: str, ids: np.ndarray) -> Answers:
        """Return the predictions for the images ``ids``, one draw a training: text (object) or float64, ``[N]``."""
        column = "predicted_value" if KINDS[kind].stored == "float64" else "predicted_class"
        dtype = np.float64 if column == "predicted_value" else object
        return [[parts[model, label][column].reindex(ids).to_numpy(dtype=dtype)] for parts in self._parts]

    def confidences(self, model: str, label: str, ids: np.ndarray) -> list[np.ndarray]:
        """Return how sure the predictions for the images ``ids`` are, float64 ``[N]`` in 0-1, one array a training."""
        return [parts[model, label]["confidence"].reindex(ids).to_numpy(dtype=np.float64) for parts in self._parts]

    def probabilities(self, model: str, label: str, ids: np.ndarray) -> list[np.ndarray | None]:
        """Return those of all classes for the images ``ids``, float32 ``[N, C]``, one array a training; None unkept."""
        lists = [parts[model, label]["probabilities"].reindex(ids) for parts in self._parts]
        return [np.stack(list(column)) if len(column) and column.notna().all() else None for column in lists]

    def changed(self, first: str, second: str, label: str, ids: np.ndarray) -> float | None:
        """Return the share of the images ``ids`` whose predicted class two models disagree on, None without models."""
        shares = []
        for parts in self._parts:
            if (first, label) in parts and (second, label) in parts:
                one, other = (parts[model, label]["predicted_class"].reindex(ids) for model in (first, second))
                shares.append(float((one != other).mean()))
        return float(np.mean(shares)) if shares else None
