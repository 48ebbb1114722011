import numpy as np
import pytest
import torch
from scipy import stats

from pipeline_lib.stats.calibration import by_chance, calibration_error, reliability


def sure_and_right(num: int = 20000, optimism: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1.0, num)
    return confidence, rng.random(num) < confidence - optimism


@pytest.mark.parametrize("optimism", [0.0, 0.1])
def test_the_error_is_torchmetrics(optimism: float) -> None:
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    confidence, right = sure_and_right(optimism=optimism)
    # Of a binary label each confidence is the probability of a class that is there or not.
    expected = metrics.binary_calibration_error(
        torch.from_numpy(confidence), torch.from_numpy(right).long(), n_bins=10, norm="l1"
    )
    assert calibration_error(confidence, right) == pytest.approx(float(expected), abs=1e-4)
    assert calibration_error(confidence, right) == pytest.approx(optimism, abs=0.025)


def test_bins_hold_every_image_once() -> None:
    confidence, right = sure_and_right()
    bins = reliability(confidence, right, 10)
    assert bins.shape == (10, 3) and bins[:, 2].sum() == len(confidence)
    assert np.isnan(bins[:2, :2]).all() and not np.isnan(bins[2:]).any()  # none is less sure than 0.2
    assert ((bins[2:, 0] > np.arange(2, 10) / 10) & (bins[2:, 0] <= np.arange(3, 11) / 10)).all()
    assert np.average(bins[2:, 1], weights=bins[2:, 2]) == pytest.approx(right.mean())


def test_the_ends_are_in_a_bin() -> None:
    ends = reliability(np.array([0.0, 1.0]), np.array([False, True]), 4)
    np.testing.assert_array_equal(ends[[0, 3]], [[0, 0, 1], [1, 1, 1]])


def exact(draws: int, num: int = 300) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return confidences, and answers that are right exactly as often."""
    rng = np.random.default_rng(1)
    sure = [rng.uniform(0.3, 1, num) for _ in range(draws)]
    return [(one, rng.random(num) < one) for one in sure]


def test_chance_is_that_of_a_binomial_where_all_are_equally_sure() -> None:
    found = by_chance(np.full((1, 50), 0.7), np.arange(50), seed=0)
    possible = np.arange(51)
    expected = stats.binom.expect(lambda hits: np.abs(hits / 50 - 0.7), (50, 0.7))
    assert found.errors_S.mean() == pytest.approx(expected, rel=0.1)
    assert np.isin(np.round(found.right_SB[:, 6] * 50), possible).all()
    assert found.right_SB[:, 6].mean() == pytest.approx(0.7, abs=0.01) and np.isnan(found.right_SB[:, :6]).all()
    np.testing.assert_allclose(found.errors_S, np.abs(found.right_SB[:, 6] - 0.7), atol=1e-12)


def test_an_exact_confidence_is_seldom_beyond_what_chance_shows_and_another_often() -> None:
    within, beyond = 0, 0
    for sure, right in exact(100):
        high = np.quantile(by_chance(sure[None], np.arange(300), seed=0).errors_S, 0.95)
        within += calibration_error(sure, right) <= high
        beyond += calibration_error(np.clip(sure + 0.15, 0, 1), right) > high
    assert within >= 88 and beyond >= 95


def test_images_of_a_group_share_their_luck_and_so_do_trainings() -> None:
    sure = np.full((1, 60), 0.7)
    together = by_chance(sure, np.zeros(60, np.int64), seed=0)
    assert set(np.round(together.errors_S, 6)) == {0.3, 0.7}
    alone, twice = (by_chance(np.repeat(sure, times, axis=0), np.arange(60), seed=0) for times in (1, 2))
    np.testing.assert_allclose(alone.errors_S, twice.errors_S)
    np.testing.assert_allclose(alone.right_SB, twice.right_SB)


def test_the_error_by_chance_is_the_mean_over_trainings_and_bins_hold_the_answers_of_all() -> None:
    sure = np.stack([np.full(40, 0.95), np.full(40, 0.35)])
    found = by_chance(sure, np.arange(40), seed=0)
    one, other = np.abs(found.right_SB[:, 9] - 0.95), np.abs(found.right_SB[:, 3] - 0.35)
    np.testing.assert_allclose(found.errors_S, (one + other) / 2, atol=1e-12)
    assert np.isnan(found.right_SB).all(axis=0).sum() == 8
