"""The distances that the audit has too, of a source to the target."""

from pipeline_lib.rank.sets import Domain
from pipeline_lib.stats.shift import domain_classifier, frechet_distance, mmd


def mmd2(source: Domain, target: Domain, seed: int) -> float:
    """Return the unbiased squared maximum mean discrepancy; see :func:`pipeline_lib.stats.shift.mmd`."""
    return mmd(source.features_ND, target.features_ND, 0, seed)["mmd2"]


def proxy_a_distance(source: Domain, target: Domain, seed: int) -> float:
    """Return 2 (1 - 2 err) of a linear classifier; see :func:`pipeline_lib.stats.shift.domain_classifier`."""
    keys = (source.keys_N, target.keys_N)
    return domain_classifier(source.features_ND, target.features_ND, seed, keys)["proxy_a_distance"]


def frechet(source: Domain, target: Domain, seed: int) -> float:
    """Return the Fréchet distance of Gaussians; see :func:`pipeline_lib.stats.shift.frechet_distance`."""
    return frechet_distance(source.features_ND, target.features_ND)
