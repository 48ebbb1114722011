"""The benchmark of rankings: that tau, regret and what was named are those of the orders."""

import numpy as np
import pytest

from benchmarks.rank import ALL, compare, measured, summary
from pipeline_lib.rank.ranking import ranking

TRUTH = {"a": 0.9, "b": 0.7, "c": 0.5}


def ranked(**places: list[float]) -> dict:
    """A ranking by scores that give the candidates these values, all of which the halves agree with."""
    values = {name: {score: own[place] for score, own in places.items()} for place, name in enumerate(TRUTH)}
    return ranking([values, values], larger_is_better=False)


def test_orders_that_are_right_wrong_and_undecided() -> None:
    found = compare(ranked(right=[1, 2, 3], wrong=[3, 2, 1]), TRUTH)
    assert found["tau"] == {"right": pytest.approx(1), "wrong": pytest.approx(-1), ALL: 0}
    expected = {"right": 0, "wrong": 0.4, ALL: 0.2, "random": 0.2}
    assert found["regret"] == {name: pytest.approx(lost) for name, lost in expected.items()}
    assert found["named_right"] is None, "all have the same mean rank"


def test_what_was_named_alone_is_counted() -> None:
    runs = [
        {"what": what, "ranked": ranked(one=order), "measured": TRUTH}
        for what, order in (("datasets", [1, 2, 3]), ("datasets", [2, 1, 3]), ("encoders", [1, 1, 1]))
    ]
    line = summary(runs)
    assert line["named"] == {
        "datasets": {"runs": 2, "named": 2, "right": 1},
        "encoders": {"runs": 1, "named": 0, "right": 0},
    }
    assert line["regret"]["datasets"]["one"] == pytest.approx(0.1)


def test_a_probe_is_scored_on_other_images() -> None:
    rng = np.random.default_rng(0)
    classes = np.arange(90) % 3
    features = rng.normal(size=(90, 8)) + 5 * np.eye(8)[classes]
    assert measured(features[:60], classes[:60], features[60:], classes[60:]) > 0.9
    assert measured(features[:60], rng.permutation(classes[:60]), features[60:], classes[60:]) < 0.7
