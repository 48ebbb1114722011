"""The two samples whose densities are compared."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.stats.shift import domain_probabilities, separation


@dataclass(frozen=True)
class Pair:
    """Features of source and target, ``[N, K]`` and ``[M, K]``, with at least two images each."""

    source_NK: np.ndarray  # noqa: N815
    target_MK: np.ndarray  # noqa: N815
    seed: int

    @cached_property
    def told_apart(self) -> tuple[np.ndarray, np.ndarray]:
        """The probability of "target" for every image of source and target, out of fold."""
        return domain_probabilities(self.source_NK, self.target_MK, self.seed)

    @property
    def domain_auc(self) -> float:
        """The area under the curve of the domain classifier: where it is near 1, the densities do not overlap."""
        return separation(*self.told_apart)["domain_auc"]

    def sample(self, most: int, what: str) -> tuple[np.ndarray, np.ndarray]:
        """Return at most so many images of each at random, float64."""
        rng = np.random.default_rng(derive_seed(self.seed, what))
        source, target = (
            features[np.sort(rng.permutation(len(features))[:most])].astype(np.float64)
            for features in (self.source_NK, self.target_MK)
        )
        return source, target
