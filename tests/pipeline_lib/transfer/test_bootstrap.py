import numpy as np
import pytest
from scipy.stats import bootstrap

from pipeline_lib.transfer.bootstrap import mean_interval, percentile_interval, resampled_means


def test_the_interval_is_that_of_scipy():
    values = np.random.default_rng(0).exponential(size=200)
    expected = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    assert mean_interval(values, 4000, seed=0) == pytest.approx(tuple(expected), rel=0.03)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        low, high = mean_interval(rng.normal(0.3, 1, size=60), 300, seed=trial)
        covered += low <= 0.3 <= high
    assert 0.89 <= covered / 300 <= 0.985


def test_draws_are_resampled_too():
    """Draws that differ widen the interval, however many images there are."""
    same, apart = np.full((5, 2000), 0.5), np.repeat(np.linspace(0, 1, 5)[:, None], 2000, axis=1)
    assert mean_interval(same, 500, seed=0) == (0.5, 0.5)
    low, high = mean_interval(apart, 500, seed=0)
    assert high - low > 0.3


def test_pairs_take_out_what_both_methods_share():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=300)
    one, other = hard + 0.1, hard
    low, high = mean_interval(one - other, 300, seed=0)
    assert (low, high) == pytest.approx((0.1, 0.1))
    together = resampled_means(one, 300, seed=0) - resampled_means(other, 300, seed=0)
    np.testing.assert_allclose(together, 0.1)


def test_what_is_not_labelled_has_no_part():
    values = np.array([1.0, 3.0, np.nan, np.nan])
    means = resampled_means(values, 500, seed=0)
    assert np.nanmin(means) >= 1
    assert np.nanmax(means) <= 3
    assert np.nanmean(means) == pytest.approx(2, abs=0.15)
    assert mean_interval(np.full(4, np.nan), 100, seed=0) == (None, None)
    assert percentile_interval(np.array([np.nan, np.inf])) == (None, None)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).normal(size=(3, 50))
    np.testing.assert_array_equal(resampled_means(values, 250, seed=5), resampled_means(values, 250, seed=5))
    assert not np.array_equal(resampled_means(values, 250, seed=5), resampled_means(values, 250, seed=6))
