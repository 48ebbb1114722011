"""Whether there is a shift between two domains that an adapter could undo."""

from dataclasses import dataclass

import numpy as np

from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.stats.label_shift import target_prior
from pipeline_lib.stats.shift import Keys, domain_test

LEVEL = 0.05
LEAST_IMAGES = 50  # of a domain: with fewer nothing would be found where there is something


@dataclass(frozen=True)
class Shift:
    """The code of what was found, with the p-value of a domain classifier before and after equal priors.

    ``found`` is "none" where the domains cannot be told apart, "prior" where they cannot once the source's classes are
    as frequent as the target's seem to be, and "shift" otherwise; ``prior`` (``[C]``) is that estimate.
    """

    found: str
    p_value: float
    p_value_equal_priors: float
    prior: np.ndarray


def find_shift(
    source_MD: np.ndarray,
    source_MC: np.ndarray,
    target_ND: np.ndarray,
    target_NC: np.ndarray,
    source_prior_C: np.ndarray,
    seed: int,
    keys: Keys | None = None,
) -> Shift:
    """Compare features and probabilities of a model on images of both domains, none of which it was trained on.

    No label enters but the source's prior. To make the priors equal, source images are drawn with probabilities in
    proportion to the ratio of the priors of what the model says they are.
    """
    keys = keys or (np.arange(len(source_MD)), np.arange(len(source_MD), len(source_MD) + len(target_ND)))
    prior_C = target_prior(target_NC, source_prior_C)
    p_value = _p_value(source_MD, target_ND, seed, keys)
    if np.isnan(p_value):
        return Shift("shift", p_value, p_value, prior_C)
    if p_value > LEVEL:
        return Shift("none", p_value, p_value, prior_C)
    weights_M = source_MC @ (prior_C / source_prior_C)
    drawn = np.random.default_rng(derive_seed(seed, "prior")).random(len(weights_M)) < weights_M / weights_M.max()
    equal = _p_value(source_MD[drawn], target_ND, seed, (keys[0][drawn], keys[1]))
    return Shift("prior" if equal > LEVEL else "shift", p_value, equal, prior_C)


def _p_value(source_MD: np.ndarray, target_ND: np.ndarray, seed: int, keys: Keys) -> float:
    """Return the p-value of the domain classifier, NaN for too few images."""
    if min(len(source_MD), len(target_ND)) < LEAST_IMAGES:
        return float("nan")
    return domain_test(source_MD, target_ND, seed, keys)
