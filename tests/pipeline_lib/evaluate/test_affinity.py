"""Tables of who helps whom, summed up over moments and trainings."""

import numpy as np
import pytest
from scipy import stats

from pipeline_lib.evaluate.affinity import affinity_rows


def training(*tables: list[list[float | None]]) -> dict[str, object]:
    return {"labels": ["a", "b"], "affinity": list(tables)}


def test_of_one_training_the_moments_are_the_sample() -> None:
    values = [0.1, 0.2, 0.4]
    rows = affinity_rows([training(*([[value, -value], [None, 0.0]] for value in values))])
    assert [(row["of"], row["to"]) for row in rows] == [("a", "a"), ("a", "b"), ("b", "b")], "none is told of b to a"
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (rows[0]["value"], rows[0]["low"], rows[0]["high"]) == pytest.approx((np.mean(values), low, high))
    assert (rows[1]["low"], rows[1]["high"]) == pytest.approx((-high, -low))


def test_of_three_trainings_they_are_the_sample_each_as_heavy() -> None:
    first = training([[0.1, 0], [0, 0]], [[0.3, 0], [0, 0]])
    rows = affinity_rows([first, training([[0.5, 0], [0, 0]]), training([[0.6, None], [0, 0]])])
    low, high = stats.t.interval(0.95, 2, np.mean([0.2, 0.5, 0.6]), stats.sem([0.2, 0.5, 0.6]))
    assert (rows[0]["value"], rows[0]["low"], rows[0]["high"]) == pytest.approx((1.3 / 3, low, high))


def test_what_was_measured_once_has_no_interval_and_nothing_has_no_row() -> None:
    (row, *_) = affinity_rows([training([[0.1, 0.2], [0.3, 0.4]])])
    assert (row["value"], row["low"], row["high"]) == (0.1, None, None)
    assert affinity_rows([training()]) == []
    assert affinity_rows([{"labels": [], "affinity": []}]) == []
