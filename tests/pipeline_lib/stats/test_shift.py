import math
import warnings

import numpy as np
import ot
import pytest
from scipy import stats
from sklearn.metrics.pairwise import rbf_kernel

from pipeline_lib.stats.shift import density_ratio, domain_classifier, domain_probabilities, frechet_distance, mmd


def normal(num: int, dim: int, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    features = np.random.default_rng(seed).normal(size=(num, dim))
    features[:, 0] += mean
    return features.astype(np.float32)


def test_the_domain_classifier_reaches_the_best_possible_auc() -> None:
    # Of two normal distributions that lie d apart, no classifier has a larger area than Phi(d / sqrt(2)).
    for distance in (1.0, 2.0):
        found = domain_classifier(normal(2000, 5), normal(1500, 5, distance, seed=1), 0)
        assert found["domain_auc"] == pytest.approx(stats.norm.cdf(distance / math.sqrt(2)), abs=0.02)
        error = stats.norm.cdf(-distance / 2)
        assert found["proxy_a_distance"] == pytest.approx(2 * (1 - 2 * error), abs=0.1)


def test_one_domain_is_chance_and_two_are_apart() -> None:
    same = domain_classifier(normal(900, 8), normal(300, 8, seed=1), 0)
    assert abs(same["domain_auc"] - 0.5) < 0.06 and abs(same["proxy_a_distance"]) < 0.2
    apart = domain_classifier(normal(900, 8), normal(300, 8, 30, seed=1), 0)
    assert apart == {"domain_auc": 1.0, "proxy_a_distance": 2.0}


def test_uneven_sets_do_not_move_the_balanced_error() -> None:
    even = domain_classifier(normal(1000, 3), normal(1000, 3, 1, seed=1), 0)
    uneven = domain_classifier(normal(4000, 3), normal(250, 3, 1, seed=1), 0)
    assert uneven["proxy_a_distance"] == pytest.approx(even["proxy_a_distance"], abs=0.2)


def test_probabilities_are_out_of_fold() -> None:
    # Random features in more dimensions than images: fitted images would be told apart nearly perfectly.
    found = domain_classifier(normal(60, 200), normal(60, 200, seed=1), 0)
    assert found["domain_auc"] < 0.7


def test_the_density_ratio_is_that_of_the_densities() -> None:
    source, target = normal(4000, 2), normal(1000, 2, 1.0, seed=1)
    ratio = density_ratio(domain_probabilities(source, target, 0)[0])
    truth = np.exp(source[:, 0] - 0.5)
    assert np.corrcoef(np.log(ratio), np.log(truth))[0, 1] > 0.98
    assert ratio.mean() == pytest.approx(1, abs=0.1), "its mean over the source is one"


def test_the_same_seed_gives_the_same_numbers() -> None:
    source, target = normal(100, 6), normal(80, 6, 1, seed=1)
    assert domain_classifier(source, target, 3) == domain_classifier(source, target, 3)
    assert mmd(source, target, 20, 3) == mmd(source, target, 20, 3)


def test_mmd_is_the_unbiased_estimate_of_its_definition() -> None:
    source, target = normal(40, 4), normal(25, 4, 1, seed=1)
    pooled = np.concatenate([source, target]).astype(np.float64)
    distances = [np.square(a - b).sum() for index, a in enumerate(pooled) for b in pooled[index + 1 :]]
    kernel = rbf_kernel(pooled, gamma=1 / (2 * np.median(distances)))
    within = [k[~np.eye(len(k), dtype=bool)].mean() for k in (kernel[:40, :40], kernel[40:, 40:])]
    assert mmd(source, target, 10, 0)["mmd2"] == pytest.approx(sum(within) - 2 * kernel[:40, 40:].mean(), abs=1e-10)


def test_mmd_p_values_are_even_under_no_shift_and_small_under_shift() -> None:
    values = [
        mmd(normal(30, 3, seed=2 * seed), normal(20, 3, seed=2 * seed + 1), 99, seed)["mmd_p_value"]
        for seed in range(80)
    ]
    assert stats.kstest(values, "uniform").pvalue > 0.01
    assert mmd(normal(60, 3), normal(60, 3, 1, seed=1), 99, 0)["mmd_p_value"] == 0.01


def test_mmd_of_equal_images_is_zero_and_never_significant() -> None:
    assert mmd(np.ones((9, 3)), np.ones((7, 3)), 20, 0) == {"mmd2": pytest.approx(0), "mmd_p_value": 1.0}


@pytest.mark.parametrize("dim", [1, 6, 50])
def test_the_frechet_distance_is_that_of_pot(dim: int) -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(40, dim)) @ rng.normal(size=(dim, dim))
    target = rng.normal(size=(30, dim)) + 1
    cov = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (source, target)]
    # POT wants full rank, which 30 images in 50 dimensions do not have.
    if dim < 30:
        expected = ot.gaussian.bures_wasserstein_distance(source.mean(0), target.mean(0), *cov) ** 2
        assert frechet_distance(source, target) == pytest.approx(float(expected), rel=1e-6)
    assert frechet_distance(source, source) == pytest.approx(0, abs=1e-6 * np.trace(cov[0]))
    assert frechet_distance(source, source + 2) == pytest.approx(4 * dim, rel=1e-4)
    assert frechet_distance(source, target) == pytest.approx(frechet_distance(target, source))


def test_too_few_images_give_nan_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, many = normal(1, 4), normal(10, 4)
        for source, target in ((one, many), (many, one)):
            numbers = {**domain_classifier(source, target, 0), **mmd(source, target, 5, 0)}
            assert all(math.isnan(value) for value in [*numbers.values(), frechet_distance(source, target)])
        assert not math.isnan(domain_classifier(normal(2, 4), many, 0)["domain_auc"])


def test_images_of_a_group_are_not_told_apart_by_their_group() -> None:
    """Every group looks like nothing else, so only what it shares with the rest of its domain may count."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(16), 25)
    features = rng.normal(0, 10, (16, 12))[groups] + rng.normal(size=(400, 12))
    keys = (groups[:200].astype(str), groups[200:].astype(str))
    torn = domain_classifier(features[:200], features[200:], 0)
    whole = domain_classifier(features[:200], features[200:], 0, keys)
    assert torn["domain_auc"] > 0.95
    assert whole["domain_auc"] < 0.85


def test_one_group_a_domain_cannot_be_measured() -> None:
    features = normal(20, 3)
    keys = (np.repeat(["a"], 10), np.arange(10).astype(str))
    assert math.isnan(domain_classifier(features[:10], features[10:], 0, keys)["domain_auc"])


def test_the_same_images_in_both_domains_are_not_told_apart() -> None:
    features, keys = normal(60, 3), np.arange(60).astype(str)
    found = domain_classifier(features, features, 0, (keys, keys))
    assert found["domain_auc"] == pytest.approx(0.5, abs=1e-9)


def test_images_that_are_all_equal_are_not_told_apart_and_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert domain_classifier(np.zeros((9, 3)), np.zeros((7, 3)), 0)["domain_auc"] == 0.5
