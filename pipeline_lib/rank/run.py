"""The two rankings: of source datasets without a label, of encoders with labels of the target's train split."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from pipeline_lib.core.progress import track
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.rank import DISTANCES, SCORES
from pipeline_lib.rank.ranking import Measures, halves, ranking
from pipeline_lib.rank.sets import Domain, Examples

COMPONENTS = 50
# A half of fewer keys says too little of the spread.
MIN_KEYS = 20


def rank_datasets(sources: Mapping[str, Domain], target: Domain, *, resamples: int, seed: int) -> dict[str, Any]:
    """Rank sources by how near they are to the target; see :func:`~pipeline_lib.rank.ranking.ranking`.

    All are looked at along the 50 leading principal components of all of them together, each dataset with the weight of
    its images. The halves of each are drawn by themselves.
    """
    parts = _components([target, *sources.values()], seed)
    domains = dict(zip(["", *sources], parts, strict=True))
    draws = {name: halves(one.keys_N, resamples, derive_seed(seed, "domain", name)) for name, one in domains.items()}

    def measure(of: Mapping[str, Domain]) -> Measures:
        return {
            name: {each: distance(of[name], of[""], seed) for each, distance in DISTANCES.items()} for name in sources
        }

    def half(_: int) -> Measures:
        return measure({name: one.take(next(draws[name])) for name, one in domains.items()})

    return ranking(_measured(lambda: measure(domains), half, resamples, "rank datasets"), larger_is_better=False)


def rank_encoders(examples: Mapping[str, Examples], *, resamples: int, seed: int) -> dict[str, Any]:
    """Rank encoders by what they make of the same labelled images; see :func:`~pipeline_lib.rank.ranking.ranking`."""
    keys_N = next(iter(examples.values())).keys_N
    draws = halves(keys_N, resamples, derive_seed(seed, "examples"))

    def measure(rows: np.ndarray) -> Measures:
        return {
            name: {each: score(one.take(rows), seed) for each, score in SCORES.items()}
            for name, one in examples.items()
        }

    whole = np.arange(len(keys_N))
    measures = _measured(lambda: measure(whole), lambda _: measure(next(draws)), resamples, "rank encoders")
    return ranking(measures, larger_is_better=True)


def _measured(
    whole: Callable[[], Measures], half: Callable[[int], Measures], resamples: int, label: str
) -> list[Measures]:
    return [half(number - 1) if number else whole() for number in track(range(resamples + 1), label, resamples + 1)]


@threadpool_limits.wrap(limits=1)
def _components(domains: Sequence[Domain], seed: int) -> list[Domain]:
    features = np.concatenate([one.features_ND for one in domains])
    kept = min(COMPONENTS, *features.shape)
    pca = PCA(kept, svd_solver="randomized", random_state=derive_seed(seed, "pca")).fit(features)
    return [Domain(pca.transform(one.features_ND), one.keys_N) for one in domains]
