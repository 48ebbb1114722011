import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from pipeline_lib.evaluate.probed import CONSTANT, Probed
from pipeline_lib.evaluate.probes import Draws
from pipeline_lib.evaluate.worth import Curve, Needed, curve_of, labels_needed, mean_gain, worth
from pipeline_lib.stats.intervals import Replicates, combined, estimate
from tests.pipeline_lib.evaluate.toy import judge_of, right_share, task, truth

TRUTH = truth(300)
NUMBERS = np.random.default_rng(0).normal(size=300)


def exactly(value: float) -> Replicates:
    """A score that every block, seed and draw agrees on."""
    return Replicates(np.full((1, 1), value), np.full((1, 1, 20), value))


def spread(value: float, seed: int, scale: float = 0.02) -> Replicates:
    """A score of one training and draw whose standard error is about ``scale``."""
    noise = np.random.default_rng(seed).normal(size=(1, 1, 50))
    noise *= scale / np.sqrt(50 * np.square(noise - noise.mean()).sum() / 49) * math.sqrt(50 / 49)
    return Replicates(np.full((1, 1), value), value + noise - noise.mean())


def curve(*scores: float, labels: tuple[int, ...] = (10, 100, 1000)) -> Curve:
    return Curve(labels[: len(scores)], [exactly(score) for score in scores])


@pytest.mark.parametrize(
    ("aim", "needed"),
    [
        (0.6, math.sqrt(10 * 100)),  # half of the way, on the logarithm
        (0.7, 100),
        (0.75, 100 * 10**0.5),
        (0.8, 1000),
        (0.5, 10),
        (0.2, 10),  # the first that was tried is that or fewer
        (0.81, None),  # more than were tried
    ],
)
def test_labels_are_read_off_a_curve_over_their_logarithm(aim: float, needed: float | None) -> None:
    found = labels_needed(exactly(aim), curve(0.5, 0.7, 0.8))
    assert found.value == (None if needed is None else pytest.approx(needed))
    assert found.interval == (found.value, found.value)


def test_a_curve_that_falls_again_counts_from_where_it_first_was_as_good() -> None:
    assert labels_needed(exactly(0.7), curve(0.5, 0.9, 0.6)).value == pytest.approx(math.sqrt(1000))


def test_a_curve_needs_for_its_own_scores_what_it_had() -> None:
    noisy = Curve([10, 40, 200], [spread(value, seed) for seed, value in enumerate((0.4, 0.55, 0.6))])
    for labels, score in zip(*noisy, strict=True):
        found = labels_needed(score, noisy)
        assert found.value == pytest.approx(labels)
        assert found.interval is not None
        low, high = found.interval
        assert low is not None and low <= labels * (1 + 1e-9) and (high is None or high >= labels * (1 - 1e-9))


def test_the_interval_holds_the_value_and_grows_with_the_spread() -> None:
    widths = []
    for scale in (0.005, 0.02):
        noisy = Curve([10, 100, 1000], [spread(value, seed, scale) for seed, value in enumerate((0.5, 0.7, 0.9))])
        found = labels_needed(spread(0.7, 9, scale), noisy)
        assert found.value is not None and found.interval is not None
        low, high = found.interval
        assert low is not None and high is not None and low < found.value < high
        widths.append(math.log(high / low))
    assert widths[1] > 2 * widths[0]
    # As good may be beyond what was tried, while the value is not.
    beyond = labels_needed(spread(0.895, 9, 0.05), noisy)
    assert beyond.value is not None and beyond.interval is not None and beyond.interval[1] is None


def test_the_interval_of_labels_covers_the_truth_as_often_as_it_says() -> None:
    """The truth is 100 labels; images are drawn anew each time, and an interval of 95% misses it rarely."""
    rng, missed, times = np.random.default_rng(0), 0, 300
    for _ in range(times):
        images = rng.normal(size=(4, 50)) * 0.1 + np.array([0.7, 0.5, 0.7, 0.9])[:, None]
        scores = [_mean(row) for row in images]
        found = labels_needed(scores[0], Curve([10, 100, 1000], scores[1:]))
        assert found.interval is not None
        low, high = (math.inf if end is None else end for end in found.interval)
        missed += not low <= 100 <= high
    assert 0.02 < missed / times < 0.09


def _mean(values_J: np.ndarray) -> Replicates:
    left_out = (values_J.sum() - values_J) / (len(values_J) - 1)
    return Replicates(values_J.mean().reshape(1, 1), left_out.reshape(1, 1, -1))


def test_too_few_blocks_give_no_interval_but_a_value() -> None:
    few = Curve([10, 100], [combined(lambda values: values, _mean(np.full(4, value))) for value in (0.5, 0.7)])
    assert labels_needed(_mean(np.full(4, 0.6)), few) == Needed(pytest.approx(math.sqrt(1000)), None)


def test_the_mean_gain_is_the_area_between_curves() -> None:
    ours, theirs = curve(0.5, 0.8, 0.9, labels=(3, 50, 200)), curve(0.4, 0.6, 0.95, labels=(3, 50, 200))
    x, gains = np.log([3, 50, 200]), np.array([0.1, 0.2, -0.05])
    area = ((gains[1:] + gains[:-1]) / 2 * np.diff(x)).sum() / (x[-1] - x[0])
    assert estimate(mean_gain(ours, theirs)).value == pytest.approx(area)
    assert estimate(mean_gain(curve(0.5), curve(0.2))).value == pytest.approx(0.3)


def probed(
    shares: Mapping[str, float], values: Any = TRUTH, learn_from: str = "source", **counts: int
) -> tuple[Any, ...]:
    """Probes of a label of classes that are right in so many answers, a little more with more labels."""
    judge = judge_of(values, learn_from=learn_from)
    one = task(values, learn_from=learn_from)
    one = type(one)(**{**vars(one), "counts": {**one.counts, **counts}})
    draws = {amount: Draws([np.arange(3 * amount)] * 8, short=False) for amount in (1, 5, 10)}
    scores = {
        (name, amount): judge.replicates([[right_share(values, share + 0.002 * amount, seed) for seed in range(8)]])
        for name, share in shares.items()
        for amount in draws
    }
    return one, judge, draws, scores


def rows_of(label: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in label["rows"]}


def test_pretraining_is_worth_it_where_it_beats_everything_else() -> None:
    shares = {"pixels": 0.5, "start": 0.4, "pretrained": 0.8, "supervised": 0.9, "lite0": 0.6}
    (label,) = worth([Probed(*probed(shares))])
    rows = rows_of(label)
    assert list(rows) == [*shares, CONSTANT] and label["answer"] == "worth" and label["reason"] is None
    assert label["labels"] == [3, 15, 30] and label["declared"] == 15 and not label["self_taught"]
    assert {name: row["role"] for name, row in rows.items()} == {
        **dict.fromkeys(("pixels", "start", "lite0", CONSTANT), "alternative"),
        "pretrained": "method",
        "supervised": "built_on",
    }
    assert {name for name, row in rows.items() if row["claim"] == "better"} == {"pixels", "start", "lite0", CONSTANT}
    assert rows["supervised"]["claim"] is None and rows["supervised"]["high"] < 0
    assert rows["pretrained"]["gain"] is None and rows["pretrained"]["needed"] == rows[CONSTANT]["needed"] == []
    for name in ("pixels", "start", "lite0"):
        row = rows[name]
        assert row["low"] < row["gain"] < row["high"] and row["gain"] == pytest.approx(0.8 - shares[name], abs=0.08)
        assert [one["value"] for one in row["needed"]] == [None] * 3
    assert [one["labels"] for one in rows["pixels"]["scores"]] == [3, 15, 30]
    # Whose curve is above needs no more than the first number tried.
    assert [one["value"] for one in rows["supervised"]["needed"]] == [3] * 3


def test_it_is_not_where_something_without_it_is_better() -> None:
    (label,) = worth([Probed(*probed({"pixels": 0.5, "start": 0.4, "pretrained": 0.6, "lite0": 0.9}))])
    assert label["answer"] == "not_worth" and rows_of(label)["lite0"]["claim"] == "worse"


def test_it_cannot_be_told_where_nothing_is_better_and_something_as_good() -> None:
    (label,) = worth([Probed(*probed({"pixels": 0.5, "start": 0.6, "pretrained": 0.6}))])
    assert label["answer"] == "unclear"
    assert {name: row["claim"] for name, row in rows_of(label).items()} == {
        "pixels": "better",
        "start": None,
        "pretrained": None,
        CONSTANT: "better",
    }


@pytest.mark.parametrize("learn_from", ["target", "both"])
def test_what_was_trained_with_all_labels_of_the_target_is_no_alternative(learn_from: str) -> None:
    shares = {"pixels": 0.5, "start": 0.4, "pretrained": 0.8, "supervised": 0.9, "adapted": 0.9, "scratch": 0.9}
    (label,) = worth([Probed(*probed(shares, learn_from=learn_from, source_train=0))])
    assert [row["name"] for row in label["rows"] if row["role"] == "told"] == ["supervised", "adapted", "scratch"]
    assert label["answer"] == "worth" and label["self_taught"]
    (label,) = worth([Probed(*probed(shares))])
    assert rows_of(label)["scratch"]["role"] == "alternative" and label["answer"] == "not_worth"


def test_budgets_that_come_to_the_same_labels_are_one() -> None:
    one, judge, draws, scores = probed({"pixels": 0.5, "pretrained": 0.8})
    draws[10] = draws[5]._replace(short=True)
    (label,) = worth([Probed(one, judge, draws, scores)])
    assert label["labels"] == [3, 15] and len(rows_of(label)["pixels"]["scores"]) == 2


def test_one_budget_is_enough() -> None:
    one, judge, draws, scores = probed({"pixels": 0.5, "pretrained": 0.8})
    (label,) = worth([Probed(one, judge, {5: draws[5]}, scores)])
    assert label["labels"] == [15] and label["answer"] == "worth"
    assert rows_of(label)["pretrained"]["scores"][0]["value"] == pytest.approx(scores["pretrained", 5].values_SR.mean())


def test_of_an_error_less_is_better() -> None:
    judge = judge_of(NUMBERS, "regression")
    draws = {amount: Draws([np.arange(10 * amount)], short=False) for amount in (1, 5)}
    noise = np.random.default_rng(1).normal(size=300)
    scores = {
        (name, amount): judge.replicates([[NUMBERS + size / amount**0.5 * noise]])
        for name, size in {"pixels": 0.4, "start": 0.8, "pretrained": 0.2}.items()
        for amount in draws
    }
    one = Probed(task(NUMBERS, "regression"), judge, draws, scores)
    (label,) = worth([one])
    rows = rows_of(label)
    assert label["answer"] == "worth" and not label["higher_is_better"] and label["metric"] == "mae"
    assert rows["pixels"]["gain"] > 0 < rows["pixels"]["scores"][0]["value"]
    # Twice the error takes four times the labels; the line between 10 and 50 is near that.
    assert rows["pixels"]["needed"][0]["value"] == pytest.approx(40, rel=0.15)
    assert rows["pixels"]["needed"][1]["value"] is None
    assert curve_of(one, "pixels").scores[0].values_SR[0, 0] == -rows["pixels"]["scores"][0]["value"]


NOTHING = {
    "no_target_test_labels": (np.full(300, None, dtype=object), True),
    "one_class": (np.full(300, "a", dtype=object), True),
    "no_target_train_labels": (TRUTH, False),
}


@pytest.mark.parametrize("reason", NOTHING)
def test_a_label_that_cannot_be_probed_has_the_reason(reason: str) -> None:
    values, is_drawn = NOTHING[reason]
    draws = {1: Draws([np.arange(3)], short=False)} if is_drawn else {}
    one = Probed(task(values, learn_from="nothing"), judge_of(values, learn_from="nothing"), draws, {})
    found, other = worth([one, Probed(*probed({"pixels": 0.5, "pretrained": 0.8}))])
    assert (found["reason"], found["answer"], found["rows"]) == (reason, None, [])
    assert other["answer"] == "worth"


def test_without_labels_there_is_nothing_to_say() -> None:
    assert worth([]) == []
