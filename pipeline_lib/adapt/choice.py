"""Which of several models is handed on, by scores that no label of the target entered."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

SOURCE_ONLY = "source_only"


@dataclass(frozen=True)
class Choice:
    """The candidate ``name``, the code of why, and the mean rank of each candidate over the scorers (1 is best)."""

    name: str
    reason: str
    ranks: Mapping[str, float]


def choose(scores: Mapping[str, Mapping[str, float]], start: str = SOURCE_ONLY) -> Choice:
    """Choose among candidates, ``start`` among them, by the ``scores`` of each: more is better, NaN is worst.

    A scorer that cannot tell of ``start`` is left out. Each other ranks the candidates. The one with the best mean rank
    is chosen among those that more than half of the scorers prefer to ``start``; where there is none, or in a tie with
    it, ``start`` is. Of equals the first is.
    """
    candidates = list(scores)
    names = [name for name, value in scores[start].items() if np.isfinite(value)]
    if not names:
        return Choice(start, "not_preferred", dict.fromkeys(candidates, (len(candidates) + 1) / 2))
    values = np.array([[_finite(scores[candidate][name]) for name in names] for candidate in candidates])
    ranks = dict(zip(candidates, rankdata(-values, axis=0).mean(axis=1).tolist(), strict=True))
    ahead = (values > values[candidates.index(start)]).mean(axis=1)
    preferred = [
        name for name, share in zip(candidates, ahead, strict=True) if share > 0.5 and ranks[name] < ranks[start]
    ]
    if not preferred:
        return Choice(start, "not_preferred", ranks)
    return Choice(min(preferred, key=lambda name: ranks[name]), "preferred", ranks)


def _finite(value: float) -> float:
    return value if np.isfinite(value) else -np.inf
