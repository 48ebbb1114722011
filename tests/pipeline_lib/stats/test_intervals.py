import math

import numpy as np
import pytest
from scipy import stats

from pipeline_lib.stats import intervals
from pipeline_lib.stats.intervals import (
    MIN_BLOCKS,
    Replicates,
    blocks_of,
    combined,
    estimate,
    joined,
    replicates,
)


def mean_of(values_N: np.ndarray, blocks_N: np.ndarray) -> Replicates:
    """The mean of values as one seed and one draw."""
    return joined([[replicates(lambda rows: float(values_N[rows].mean()), blocks_N)]])


def table(values_SRJ: np.ndarray) -> Replicates:
    """Replicates whose pseudo-values are just these."""
    num_blocks = values_SRJ.shape[2]
    values_SR = values_SRJ.mean(axis=2)
    return Replicates(values_SR, (num_blocks * values_SR[..., None] - values_SRJ) / (num_blocks - 1))


@pytest.mark.parametrize(("num", "most", "expected"), [(500, 100, 100), (37, 100, 37), (1, 100, 1), (10, 3, 3)])
def test_blocks_are_about_even(num: int, most: int, expected: int) -> None:
    sizes = np.bincount(blocks_of([f"key {index}" for index in range(num)], 0, most))
    assert len(sizes) == expected
    assert sizes.max() - sizes.min() <= 1


def test_images_of_one_key_share_a_block_and_large_keys_do_not_pile_up() -> None:
    rng = np.random.default_rng(0)
    keys = rng.choice([f"patient {index}" for index in range(60)], 900, p=rng.dirichlet(np.full(60, 0.5)))
    blocks = blocks_of(keys, 0, most=10)
    assert all(len(set(blocks[keys == key])) == 1 for key in set(keys))
    largest_key = max(np.unique(keys, return_counts=True)[1])
    assert np.bincount(blocks, minlength=10).max() <= max(largest_key, 1.35 * 900 / 10)


def test_blocks_follow_the_seed_and_no_images_have_none() -> None:
    keys = [str(index) for index in range(300)]
    np.testing.assert_array_equal(blocks_of(keys, 3), blocks_of(keys, 3))
    assert (blocks_of(keys, 3) != blocks_of(keys, 4)).any()
    assert blocks_of([], 0).shape == (0,)


def test_the_interval_of_a_mean_is_the_textbooks() -> None:
    """With a block for each image the jackknife of a mean is its standard error exactly."""
    values = np.random.default_rng(0).uniform(size=40)
    found = estimate(mean_of(values, np.arange(40)))
    expected = stats.ttest_1samp(values, 0)
    low, high = expected.confidence_interval()
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.num_seeds, found.num_draws, found.num_blocks) == (1, 1, 40)


def test_a_paired_difference_is_a_paired_test() -> None:
    one, other = np.random.default_rng(1).uniform(size=(2, 30)) + np.array([[0.2], [0]])
    found = estimate(mean_of(one, np.arange(30)) - mean_of(other, np.arange(30)))
    assert found.p == pytest.approx(stats.ttest_rel(one, other).pvalue)


def test_one_axis_of_seeds_that_differ_is_students_t() -> None:
    """Images that all agree leave the seeds: three of them are three numbers."""
    values = np.array([0.70, 0.74, 0.79])
    found = estimate(table(np.repeat(values[:, None, None], 50, axis=2)))
    low, high = stats.ttest_1samp(values, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((low, high))


def test_draws_count_as_seeds_do() -> None:
    values = np.random.default_rng(2).normal(size=(4, 30))
    seeds, draws = estimate(table(values[:, None])), estimate(table(values[None]))
    assert (seeds.low, seeds.high, seeds.p) == pytest.approx((draws.low, draws.high, draws.p))


def test_the_variance_counts_every_effect_once() -> None:
    """On average over many tables the squared error is that of the mean, of all effects and their meetings."""
    rng = np.random.default_rng(3)
    S, R, J = 3, 4, 10
    deviations = {(0,): 0.5, (1,): 0.4, (2,): 0.6, (0, 1): 0.5, (0, 2): 1.0, (1, 2): 0.8, (0, 1, 2): 1.5}
    shares, truth = [], 0.0
    for axes, deviation in deviations.items():
        truth += deviation**2 / math.prod((S, R, J)[axis] for axis in axes)
    for _ in range(1000):
        cells = np.zeros((S, R, J))
        for axes, deviation in deviations.items():
            cells = cells + rng.normal(0, deviation, [n if axis in axes else 1 for axis, n in enumerate((S, R, J))])
        shares.append(sum((-1) ** (len(axes) + 1) * intervals._mean_square_share(cells, axes) for axes in deviations))
    assert np.mean(shares) == pytest.approx(truth, rel=0.06)


def test_several_seeds_are_wider_than_one_where_training_varies_and_their_mean_is_the_value() -> None:
    rng = np.random.default_rng(4)
    images = rng.normal(0.1, 1, size=200)
    one = estimate(table(images[None, None]))
    three = estimate(table(images[None, None] + rng.normal(0, 0.3, (3, 1, 1))))
    assert one.low is not None and one.high is not None and three.low is not None and three.high is not None
    assert three.high - three.low > 1.5 * (one.high - one.low)


def test_what_was_not_repeated_is_the_same_for_every_seed() -> None:
    rng = np.random.default_rng(5)
    trained, pixels = table(rng.normal(size=(3, 2, 20))), table(rng.normal(size=(1, 1, 20)))
    difference = trained - pixels
    assert difference.values_SR.shape == (3, 2)
    np.testing.assert_allclose(difference.values_SR, trained.values_SR - pixels.values_SR[0, 0])
    np.testing.assert_allclose((pixels - trained).left_out_SRJ, -difference.left_out_SRJ)


def test_numbers_are_put_together_only_over_the_same_blocks() -> None:
    rng = np.random.default_rng(6)
    one, other = table(rng.normal(size=(1, 1, 20))), table(rng.normal(size=(1, 1, 20)))
    both = combined(lambda first, second: (first + second) / 2, one, other)
    np.testing.assert_allclose(both.values_SR, (one.values_SR + other.values_SR) / 2)
    with pytest.raises(ValueError, match="same blocks"):
        one - table(rng.normal(size=(1, 1, 19)))
    with pytest.raises(ValueError, match="axis of blocks"):
        Replicates(np.zeros((2, 1)), np.zeros((1, 1, 9)))


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.25, 0.0), (-0.1, 0.0)])
def test_without_any_spread_the_number_is_certain(value: float, p: float) -> None:
    found = estimate(table(np.full((2, 1, 30), value)))
    assert (found.low, found.high, found.p) == pytest.approx((value, value, p))


@pytest.mark.parametrize("num_blocks", [1, MIN_BLOCKS - 1])
def test_too_few_blocks_have_no_interval_and_are_not_even_tried(num_blocks: int) -> None:
    tried = []

    def score(rows: np.ndarray) -> float:
        tried.append(len(rows))
        return 0.5

    found = estimate(joined([[replicates(score, np.arange(20) % num_blocks)]]))
    assert (found.value, found.low, found.high, found.num_blocks) == (0.5, None, None, num_blocks)
    assert math.isnan(found.p)
    assert tried == [20]


def test_a_number_that_needs_one_block_has_no_interval() -> None:
    left_out = np.full((1, 1, 10), 0.5)
    left_out[0, 0, 3] = np.nan
    found = estimate(Replicates(np.array([[0.5]]), left_out))
    assert found.value == 0.5 and found.low is None and math.isnan(found.p)
    nothing = estimate(Replicates(np.array([[np.nan]]), np.full((1, 1, 10), np.nan)))
    assert math.isnan(nothing.value) and nothing.low is None


def test_spread_that_few_blocks_carry_is_known_less_well() -> None:
    rng = np.random.default_rng(7)
    assert intervals._effective_freedom(np.sign(rng.normal(size=100))) == 99
    assert 70 < intervals._effective_freedom(rng.normal(size=2000)[:100]) <= 99
    few = np.zeros(100)
    few[:5] = rng.normal(size=5)
    assert intervals._effective_freedom(few) < 6
    few[1:] = 0
    assert intervals._effective_freedom(few - few.mean()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("seeds", "luck"), [(1, 0.0), (3, 0.0), (3, 0.3), (5, 0.1)])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int, luck: float) -> None:
    rng = np.random.default_rng(8)
    held = 0
    for _ in range(400):
        cells = 0.3 + rng.normal(0, luck, (seeds, 1, 1)) + rng.normal(size=(1, 1, 40)) + rng.normal(size=(seeds, 1, 40))
        found = estimate(table(cells))
        assert found.low is not None and found.high is not None
        held += found.low <= 0.3 <= found.high
    assert 0.92 <= held / 400 <= 0.985
