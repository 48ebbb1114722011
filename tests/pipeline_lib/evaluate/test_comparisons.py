from typing import Any

import numpy as np
import pytest

from pipeline_lib.evaluate.comparisons import Comparison, compare, rows_of
from tests.pipeline_lib.evaluate.toy import judge_of, right_share, truth

TRUTH = truth(300)


def compared(**shares: float) -> Comparison:
    """Compare the first model with the others, which are right about so often."""
    judge = judge_of(TRUTH)
    scores = {
        name: judge.replicates([[right_share(TRUTH, share, seed=n)]]) for n, (name, share) in enumerate(shares.items())
    }
    return compare("self-taught", next(iter(shares)), "label", judge, scores)


@pytest.mark.parametrize(
    ("shares", "outcome", "not_beaten"),
    [
        ({"method": 0.9, "first": 0.7, "second": 0.7}, "helped", []),
        # Better than the reference, and yet not helped: a baseline does as well.
        ({"method": 0.9, "first": 0.7, "second": 0.9}, "unclear", ["second"]),
        ({"method": 0.8, "first": 0.6, "second": 0.95}, "unclear", ["second"]),
        ({"method": 0.7, "first": 0.9, "second": 0.5}, "harmed", ["first"]),
        ({"method": 0.8, "first": 0.8, "second": 0.5}, "unclear", ["first"]),
    ],
)
def test_helped_is_better_than_every_baseline(shares: dict[str, float], outcome: str, not_beaten: list[str]) -> None:
    (row,) = rows_of([compared(**shares)])
    assert row["outcome"] == outcome
    assert row["not_beaten"] == not_beaten


def test_the_constant_answer_is_a_baseline_of_everything() -> None:
    """A method that is better than the others, and no better than the largest class, did not help."""
    judge = judge_of(TRUTH)
    answers = {"method": np.full(300, "a", dtype=object), "first": np.full(300, "none", dtype=object)}
    (row,) = rows_of([compare("x", "method", "label", judge, {n: judge.replicates([[a]]) for n, a in answers.items()})])
    assert [one["name"] for one in row["baselines"]] == ["first", "constant"]
    assert row["baselines"][0]["gain"] > 0
    assert (row["outcome"], row["not_beaten"]) == ("unclear", ["constant"])


@pytest.mark.parametrize(("noise", "outcome"), [(0.1, "helped"), (2.0, "harmed"), (0.5, "unclear")])
def test_less_error_is_a_gain(noise: float, outcome: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=200)
    judge = judge_of(values, "regression")
    scores = {
        name: judge.replicates([[values + spread * rng.normal(size=200)]])
        for name, spread in (("method", noise), ("first", 0.5))
    }
    (row,) = rows_of([compare("x", "method", "label", judge, scores)])
    assert row["outcome"] == outcome and not row["higher_is_better"] and row["metric"] == "mae"
    assert row["baselines"][0]["gain"] == pytest.approx(row["baselines"][0]["value"] - row["value"])
    assert row["baselines"][0]["low"] <= row["baselines"][0]["gain"] <= row["baselines"][0]["high"]


def test_a_class_of_95_percent_and_a_random_method_claim_nothing() -> None:
    """An accuracy that a constant answer beats is no result, however far it is above others."""
    rng = np.random.default_rng(99)
    claimed = []
    for seed in range(20):
        values = np.where(np.random.default_rng(seed).random(300) < 0.95, "usual", "rare").astype(object)
        judge = judge_of(values)
        scores = {
            name: judge.replicates([[np.where(rng.random(300) < 0.95, "usual", "rare").astype(object)]])
            for name in ("method", "first")
        }
        claimed += [row["outcome"] for row in rows_of([compare("x", "method", "label", judge, scores)])]
    assert claimed.count("helped") == 0 and claimed.count("harmed") <= 1


def test_what_equals_its_reference_neither_helps_nor_harms() -> None:
    judge = judge_of(TRUTH)
    same = judge.replicates([[right_share(TRUTH, 0.9)]])
    (row,) = rows_of([compare("x", "pretrained", "label", judge, {"pretrained": same, "start": same})])
    assert (row["outcome"], row["not_beaten"]) == ("unclear", ["start"])
    assert (row["baselines"][0]["gain"], row["baselines"][0]["p"]) == (0, 1)


def test_the_more_comparisons_the_more_must_be_shown_for_each() -> None:
    """A gain that would do alone does not among many that show nothing."""
    found = compared(method=0.84, first=0.7)
    nothing = compared(method=0.8, first=0.8)
    alone = rows_of([found])[0]
    assert alone["outcome"] == "helped" and alone["baselines"][0]["p"] > 0.05 / 30
    among = rows_of([found, *[nothing] * 29])
    assert among[0]["outcome"] == "unclear"
    assert {key: among[0][key] for key in ("value", "low", "high", "baselines")} == {
        key: alone[key] for key in ("value", "low", "high", "baselines")
    }


def test_a_row_holds_the_facts_and_what_else_was_said() -> None:
    judge = judge_of(TRUTH, keys=[f"patient {row // 3}" for row in range(300)])
    scores = {name: judge.replicates([[right_share(TRUTH, 0.8)] * 4] * 2) for name in ("method", "first")}
    (row,) = rows_of([compare("x", "method", "label", judge, scores, labels_per_class=5, short=True, extra="y")])
    expected: dict[str, Any] = {
        "kind": "x",
        "label": "label",
        "method": "method",
        "metric": "balanced_accuracy",
        "num_images": 300,
        "num_groups": 100,
        "num_seeds": 2,
        "num_draws": 4,
        "left_out_classes": 0,
        "labels_per_class": 5,
        "short": True,
        "reason": None,
        "details": {"extra": "y"},
    }
    assert {key: row[key] for key in expected} == expected
    assert row["low"] < row["value"] < row["high"]


def test_a_method_with_trainings_beside_a_baseline_without() -> None:
    judge = judge_of(TRUTH)
    scores = {
        "method": judge.replicates([[right_share(TRUTH, 0.9, seed)] for seed in range(3)]),
        "pixels": judge.replicates([[right_share(TRUTH, 0.5, 9)]]),
    }
    (row,) = rows_of([compare("x", "method", "label", judge, scores)])
    assert (row["num_seeds"], row["outcome"]) == (3, "helped")


def test_what_was_not_compared_has_its_reason_and_no_number() -> None:
    told = Comparison("transductive", "none", "", reason="not_adapted", facts={"changed": 0.5})
    (row,) = rows_of([told])
    assert (row["outcome"], row["reason"], row["baselines"]) == ("not_measurable", "not_adapted", [])
    assert row["value"] is row["low"] is row["high"] is None
    assert (row["num_seeds"], row["num_images"], row["details"]) == (0, 0, {"changed": 0.5})


def test_too_few_groups_claim_nothing_whatever_the_gain() -> None:
    judge = judge_of(TRUTH, keys=[f"patient {row % 4}" for row in range(300)])
    scores = {
        name: judge.replicates([[right_share(TRUTH, share)]]) for name, share in (("method", 0.99), ("first", 0.3))
    }
    (row,) = rows_of([compare("x", "method", "label", judge, scores)])
    assert row["outcome"] == "unclear" and row["low"] is None and row["baselines"][0]["gain"] > 0.5
