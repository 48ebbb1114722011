"""Candidates in an order, with how sure each place in it is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from pipeline_lib.core.seeds import derive_seed

LEVEL = 0.95
# The values of all scores for each candidate: {candidate: {score: value}}.
Measures = Mapping[str, Mapping[str, float]]


def halves(keys_N: np.ndarray, number: int, seed: int) -> Iterator[np.ndarray]:
    """Yield ``number`` times the rows (int64) of a random half of the keys.

    What is computed from a half deviates from what all images give about as much as that deviates from the truth: the
    jackknife that leaves out half (Shao and Wu 1989). A bootstrap would have images twice, which are their own
    neighbours and shrink a distance to nothing.
    """
    names = np.unique(keys_N)
    for each in range(number):
        rng = np.random.default_rng(derive_seed(seed, "halves", each))
        kept = rng.permutation(names)[: (len(names) + 1) // 2]
        yield np.flatnonzero(np.isin(keys_N, kept))


def ranking(measures: Sequence[Measures], larger_is_better: bool) -> dict[str, Any]:
    """Order candidates by the mean of their ranks under each score, the best first.

    ``measures`` are those of all images, and of each half of them. Returns

    - ``candidates``: a list, each with ``name``, ``mean_rank``, ``rank`` (the place by it, from 1; those alike share
      the mean of their places), ``low`` and ``high``, between which 95 % of the halves and all images rank it, and
      ``scores``: ``{score: {value, rank, low, high}}``, which are null for what a candidate does not have
    - ``counted``: the scores of which the mean is, those that every candidate has
    """
    names, scores = list(measures[0]), list(next(iter(measures[0].values())))
    sign = -1 if larger_is_better else 1
    values_RCS = np.array([[[each[name][score] for score in scores] for name in names] for each in measures])
    # 12 digits: what differs by rounding is alike.
    rounded_RCS = np.array([[[float(f"{sign * x:.12g}") for x in row] for row in each] for each in values_RCS])
    ranks_RCS = rankdata(rounded_RCS, axis=1, nan_policy="omit")
    counted_S = np.isfinite(values_RCS).all(axis=(0, 1))
    mean_RC = ranks_RCS[:, :, counted_S].mean(axis=2) if counted_S.any() else np.full(ranks_RCS.shape[:2], np.nan)
    overall_RC = rankdata(mean_RC.round(9), axis=1, nan_policy="omit")
    candidates = [
        {
            "name": name,
            "mean_rank": float(mean_RC[0, place]),
            **_interval(overall_RC[:, place]),
            "scores": {
                score: {"value": float(values_RCS[0, place, column]), **_interval(ranks_RCS[:, place, column])}
                for column, score in enumerate(scores)
            },
        }
        for place, name in enumerate(names)
    ]
    return {
        "candidates": sorted(candidates, key=lambda one: (one["rank"], one["name"])),
        "counted": [score for score, counts in zip(scores, counted_S, strict=True) if counts],
    }


def _interval(ranks_R: np.ndarray) -> dict[str, float]:
    if np.isnan(ranks_R[0]):
        return dict.fromkeys(("rank", "low", "high"), float("nan"))
    tail = (1 - LEVEL) / 2
    known = ranks_R[1:][np.isfinite(ranks_R[1:])]
    known = known if len(known) else ranks_R[:1]
    low = float(np.quantile(known, tail, method="lower"))
    high = float(np.quantile(known, 1 - tail, method="higher"))
    rank = float(ranks_R[0])
    return {"rank": rank, "low": min(low, rank), "high": max(high, rank)}
