"""One of several classes an image, which have an order: grades, stages, sizes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline_lib.labels.kind import Scorer, Spec, listed, or_none
from pipeline_lib.labels.multiclass import Multiclass
from pipeline_lib.labels.order import natural_order

if TYPE_CHECKING:
    from torch import nn


class Ordinal(Multiclass):
    """Classes in an order, learnt by a cumulative link and scored by quadratic kappa.

    The spec has ``order`` too where one was given: all its classes, also those that do not occur.
    """

    name = "ordinal"
    main = "quadratic_kappa"

    def describe(self, values_N: np.ndarray, order: Sequence[str] | None = None) -> dict[str, Any]:
        """Return ``kind``, ``classes`` (those that occur, in their order) and ``order`` where it is given."""
        spec = super().describe(values_N, order)
        if order is None:
            return spec
        strange = [name for name in spec["classes"] if name not in set(order)]
        problem = f"its order leaves out {listed([repr(name) for name in strange])}" if strange else spec["problem"]
        return {**spec, "order": list(order), "problem": problem}

    def head(self, num_features: int, spec: Spec) -> "nn.Module":
        """Return a cumulative link, whose outputs are logarithms of the classes' probabilities."""
        from pipeline_lib.labels.cumulative_link import CumulativeLink

        return CumulativeLink(num_features, len(spec["classes"]))

    def judged(self, truth_N: np.ndarray, spec: Spec | None = None) -> tuple[str, ...]:
        """Return the classes with enough images that have a place in the order."""
        order = (spec or {}).get("order")
        return tuple(name for name in super().judged(truth_N) if order is None or name in order)

    def make_scorer(
        self, predicted_N: np.ndarray, truth_N: np.ndarray, judged: tuple[str, ...] | None, spec: Spec | None = None
    ) -> Scorer:
        """Return Cohen's kappa with quadratic weights (Cohen 1968) over the images of judged classes.

        1 at best, 0 for a constant answer. Images whose class, or answer, has no place in the order do not enter.
        """
        if judged is None or len(judged) < 2:
            return lambda rows: float("nan")
        true_N, said_N = _places(predicted_N, truth_N, spec)
        entering_N = ~np.isnan(true_N + said_N) & np.isin(np.asarray(truth_N, dtype=object), judged)
        moments = (np.ones(len(true_N)), true_N, said_N, true_N**2 + said_N**2, (true_N - said_N) ** 2)
        moments_N5 = np.where(entering_N[:, None], np.stack(moments, axis=1), 0)

        def quadratic_kappa(rows: np.ndarray) -> float:
            num, true, said, squares, apart = moments_N5[rows].sum(axis=0).tolist()
            # The squared distances of all pairs of a truth and an answer: what chance would give.
            by_chance = num * squares - 2 * true * said
            return 1 - num * apart / by_chance if by_chance > 0 else float("nan")

        return quadratic_kappa

    def scores(self, predicted_N: np.ndarray, truth_N: np.ndarray, spec: Spec | None = None) -> dict[str, float | None]:
        """Return ``quadratic_kappa`` and ``balanced_accuracy``, of judged classes, and ``mae``, in steps, of all."""
        true_N, said_N = _places(predicted_N, truth_N, spec)
        steps = np.abs(true_N - said_N)[~np.isnan(true_N - said_N)]
        judged = self.judged(truth_N, spec)
        return {
            "quadratic_kappa": or_none(self.score(predicted_N, truth_N, judged, spec)),
            "balanced_accuracy": self.balanced_accuracy(predicted_N, truth_N, judged),
            "mae": float(steps.mean()) if len(steps) else None,
        }


def _places(predicted_N: np.ndarray, truth_N: np.ndarray, spec: Spec | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the places in the order of truths and answers, float64 ``[N]`` each, NaN for what has none."""
    said, true = np.asarray(predicted_N, dtype=object), np.asarray(truth_N, dtype=object)
    both = np.concatenate([said, true])
    order = (spec or {}).get("order") or natural_order(pd.unique(both[~pd.isna(both)]))
    index = pd.Index(order, dtype="object")
    places = [index.get_indexer(values).astype(np.float64) for values in (true, said)]
    return np.where(places[0] < 0, np.nan, places[0]), np.where(places[1] < 0, np.nan, places[1])
