"""A number an image."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline_lib.labels.kind import MIN_JUDGED, Kind, Scorer, Spec, is_missing, labelled, or_none

if TYPE_CHECKING:
    from torch import Tensor, nn


class Regression(Kind):
    """Numbers, standardised, learnt by squared error and scored by the mean absolute error in the label's unit."""

    name = "regression"
    main = "mae"
    higher_is_better = False
    has_classes = False
    stored = "float64"

    def read(self, cell: Any) -> float | None:
        """Return a finite number, None for "nan"; raise ValueError for anything else."""
        if is_missing(cell):
            return None
        try:
            number = float(cell)
        except (TypeError, ValueError, OverflowError):
            number = math.inf
        if math.isinf(number):
            raise ValueError("is no finite number")
        return None if math.isnan(number) else number

    def describe(self, values_N: np.ndarray, order: Sequence[str] | None = None) -> dict[str, Any]:
        """Return ``kind``, ``mean`` and ``std``, by which the values are standardised."""
        values = _numbers(values_N)
        values = values[~np.isnan(values)]
        spec, problem = {"kind": self.name, "mean": 0.0, "std": 1.0}, None
        if not len(values):
            problem = "it has no value"
        elif values.min() == values.max():
            problem = f"it has one value only, {values[0]:g}"
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                mean, std = float(values.mean()), float(values.std())
            if math.isfinite(std) and std > 0:
                spec |= {"mean": mean, "std": std}
            else:
                problem = (
                    f"its values, {values.min():g} to {values.max():g}, are too large or too small to compute with"
                )
        return {**spec, "problem": problem}

    def head(self, num_features: int, spec: Spec) -> "nn.Module":
        """Return a linear layer with one output."""
        from torch import nn

        return nn.Linear(num_features, 1)

    def encode(self, values_N: np.ndarray, spec: Spec) -> "Tensor":
        """Return standardised numbers, float32 ``[N]``, NaN where not labelled."""
        import torch

        return torch.from_numpy((_numbers(values_N) - spec["mean"]) / spec["std"]).float()

    def loss(self, outputs_BK: "Tensor", encoded_B: "Tensor", weights_C: "Tensor | None" = None) -> "Tensor":
        """Return the mean squared error of the labelled rows, in squared standard deviations."""
        known_B = ~encoded_B.isnan()
        errors = (outputs_BK.float().squeeze(1) - encoded_B.nan_to_num()) ** 2
        return (errors * known_B).sum() / known_B.sum().clamp(min=1)

    def decode(self, outputs_NK: "Tensor", spec: Spec) -> np.ndarray:
        """Return numbers in the label's unit, float64 ``[N]``."""
        return outputs_NK.squeeze(1).double().cpu().numpy() * spec["std"] + spec["mean"]

    def readable(self, outputs_NK: "Tensor", spec: Spec) -> "Tensor":
        """Return numbers in the label's unit, ``[N]``."""
        return outputs_NK.float().squeeze(1) * spec["std"] + spec["mean"]

    def confidence(self, readable_NC: "Tensor") -> "Tensor":
        """Return NaN: a number comes without a spread."""
        return readable_NC.new_full(readable_NC.shape, float("nan"))

    def classes(self, values_N: np.ndarray) -> list[str]:
        """Return none."""
        return []

    def judged(self, truth_N: np.ndarray, spec: Spec | None = None) -> None:
        """Return None: numbers have no classes."""
        return

    def make_scorer(
        self, predicted_N: np.ndarray, truth_N: np.ndarray, judged: tuple[str, ...] | None, spec: Spec | None = None
    ) -> Scorer:
        """Return the mean absolute error; an image without a label or an answer does not enter it.

        NaN if fewer than MIN_JUDGED images are labelled.
        """
        errors_N = np.abs(_numbers(predicted_N) - _numbers(truth_N))
        known_N = ~np.isnan(errors_N)
        errors_N[~known_N] = 0
        if labelled(truth_N).sum() < MIN_JUDGED:
            return lambda rows: float("nan")

        def mae(rows: np.ndarray) -> float:
            count = np.count_nonzero(known_N[rows])
            return float(errors_N[rows].sum() / count) if count else float("nan")

        return mae

    def scores(self, predicted_N: np.ndarray, truth_N: np.ndarray, spec: Spec | None = None) -> dict[str, float | None]:
        """Return ``mae``, and ``r2``: 1 at best, 0 for the mean, None where all truths are one number."""
        truth, predicted = _numbers(truth_N), _numbers(predicted_N)
        mae = or_none(self.score(predicted_N, truth_N, None))
        rows = ~np.isnan(truth - predicted)
        spread = np.square(truth[rows] - truth[rows].mean()).sum() if mae is not None else 0.0
        r2 = float(1 - np.square(truth - predicted)[rows].sum() / spread) if spread > 0 else None
        return {"mae": mae, "r2": r2}

    def constant(self, truth_N: np.ndarray) -> np.ndarray:
        """Return the median of the labelled images, NaN where none is."""
        values = _numbers(truth_N)
        values = values[~np.isnan(values)]
        return np.full(len(truth_N), np.median(values) if len(values) else np.nan)


def _numbers(values_N: np.ndarray) -> np.ndarray:
    """Return a copy of stored values, or of a column of nulls of any type, as float64 ``[N]``, NaN where null."""
    values = np.asarray(values_N)
    rows = labelled(values)
    numbers = np.full(len(values), np.nan)
    numbers[rows] = values[rows].astype(np.float64)
    return numbers
