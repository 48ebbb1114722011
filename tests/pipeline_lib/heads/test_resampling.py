import numpy as np
import pytest

from pipeline_lib.heads.resampling import resampled


@pytest.mark.parametrize("seed", range(5))
def test_rows_come_as_often_as_their_weight_says_rounded_up_or_down(seed: int) -> None:
    weights = np.random.default_rng(seed).lognormal(size=200)
    expected = weights * 200 / weights.sum()
    counts = np.bincount(resampled(weights, seed), minlength=200)
    assert counts.sum() == 200
    assert (counts >= np.floor(expected)).all() and (counts <= np.ceil(expected)).all()


def test_on_average_that_is_the_weight() -> None:
    weights = np.array([0.1, 0.4, 1.5, 2.0])
    counts = np.mean([np.bincount(resampled(weights, seed), minlength=4) for seed in range(2000)], axis=0)
    np.testing.assert_allclose(counts, weights, atol=0.04)


def test_equal_weights_give_every_row_once_and_a_seed_the_same_rows() -> None:
    for num in (1, 7, 1000):
        assert resampled(np.full(num, 0.3), num).tolist() == list(range(num))
    weights = np.linspace(0.1, 1.9, 30)
    assert (resampled(weights, 3) == resampled(weights, 3)).all()
