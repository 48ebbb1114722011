"""The benchmark of selection: that gains are paired and their interval is Student's."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.select import NEAREST, RANDOM, STRATEGIES, UNTRAINED, gain, summary
from pipeline_lib.select import LABELLED, SELECTORS

RNG = np.random.default_rng(0)


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    one, other = RNG.normal(0.45, 0.02, 5), RNG.normal(0.4, 0.02, 5)
    expected = stats.ttest_rel(one, other).confidence_interval(0.95)
    found = gain(one, other)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert found["mean"] == pytest.approx((one - other).mean())
    assert gain(one[:1], other[:1])["low"] is None


def test_the_line_has_the_mean_of_every_strategy_and_the_gain_of_nearness() -> None:
    names = (UNTRAINED, RANDOM, NEAREST)
    runs = [{name: {"score": place / 10 + seed / 100} for place, name in enumerate(names)} for seed in range(3)]
    line, gains = summary(runs)
    assert line == {UNTRAINED: 0.01, RANDOM: 0.11, NEAREST: 0.21, "gain_low": pytest.approx(0.1), "seeds": 3}
    assert set(gains) == {UNTRAINED, NEAREST}


def test_every_method_that_needs_no_label_is_a_strategy() -> None:
    assert set(STRATEGIES) == SELECTORS.keys() - LABELLED
