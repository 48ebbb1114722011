"""Which labels help each other in training, over all trainings: the tables that each of them measured, summed up."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student

from pipeline_lib.stats.intervals import LEVEL

# So many trainings are a sample of their own; fewer are one of the moments at which they were measured.
MIN_TRAININGS = 3


def affinity_rows(trainings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each pair of labels: by which share of itself the loss of ``to`` falls by a step for ``of``.

    ``trainings`` have the ``labels`` and under ``affinity`` the tables, one for each time, of
    :class:`~pipeline_lib.heads.affinity.Affinity`. ``value`` is the mean; ``low`` and ``high`` are a 95% interval, over
    the trainings where there are three or more, else over the times. They are None for what was measured once.
    """
    labels: Sequence[str] = trainings[0]["labels"]
    tables = [np.array(one["affinity"], dtype=float) for one in trainings]  # [T, L, L], NaN where it is not measured
    rows = []
    for place, of in enumerate(labels):
        for other, to in enumerate(labels):
            series = [table[:, place, other] for table in tables if len(table)]
            found = [one[~np.isnan(one)] for one in series]
            means = np.array([one.mean() for one in found if len(one)])
            if len(means):
                sample = means if len(means) >= MIN_TRAININGS else np.concatenate(found)
                rows.append({"of": of, "to": to, "value": float(means.mean()), **_bounds(sample, float(means.mean()))})
    return rows


def _bounds(sample: np.ndarray, centre: float) -> dict[str, float | None]:
    if len(sample) < 2:
        return {"low": None, "high": None}
    half = student.ppf((1 + LEVEL) / 2, len(sample) - 1) * sample.std(ddof=1) / np.sqrt(len(sample))
    return {"low": centre - float(half), "high": centre + float(half)}
