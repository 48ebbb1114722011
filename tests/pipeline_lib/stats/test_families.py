import math
from typing import Any

import numpy as np
import pytest

from pipeline_lib.stats.families import Outcome, claims, holm, outcomes
from pipeline_lib.stats.intervals import Estimate


def gain(value: float, p: float) -> Estimate:
    return Estimate(value, None, None, p, 1, 1, 100)


def test_holm_multiplies_the_smallest_the_most() -> None:
    """The example of Holm's procedure with four hypotheses."""
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert corrected == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(corrected) == list("abcd")


def test_holm_never_exceeds_one_and_leaves_out_what_is_missing() -> None:
    corrected = holm({"a": 0.04, "b": math.nan, "c": 0.9})
    assert corrected["a"] == pytest.approx(0.08) and math.isnan(corrected["b"]) and corrected["c"] == 0.9
    assert holm({}) == {} and holm({"a": 0.5, "b": 0.6, "c": 1.0}) == {"a": 1.0, "b": 1.0, "c": 1.0}
    assert holm({"only": 0.03}) == {"only": 0.03}


def test_any_error_among_many_claims_is_rare() -> None:
    rng = np.random.default_rng(0)
    false = [min(holm(dict(enumerate(rng.uniform(size=20)))).values()) <= 0.05 for _ in range(2000)]
    assert 0.03 < np.mean(false) < 0.065


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ({"start": gain(0.1, 0.001), "pixels": gain(0.2, 0.001)}, Outcome("helped", ())),
        ({"start": gain(0.1, 0.001), "pixels": gain(0.2, 0.3)}, Outcome("unclear", ("pixels",))),
        ({"start": gain(0.1, 0.001), "pixels": gain(-0.2, 0.001)}, Outcome("unclear", ("pixels",))),
        ({"start": gain(0.0, 1.0), "pixels": gain(0.2, 0.001)}, Outcome("unclear", ("start",))),
        ({"start": gain(-0.1, 0.001), "pixels": gain(0.2, 0.001)}, Outcome("harmed", ("start",))),
        ({"start": gain(-0.1, 0.2), "pixels": gain(-0.2, 0.001)}, Outcome("unclear", ("start", "pixels"))),
        ({"start": gain(0.1, 0.001), "pixels": gain(0.1, math.nan)}, Outcome("unclear", ("pixels",))),
        ({"start": gain(0.1, math.nan)}, Outcome("unclear", ("start",))),
        ({"start": gain(math.nan, math.nan), "pixels": gain(0.1, 0.001)}, Outcome("not_measurable", ("start",))),
        ({}, Outcome("not_measurable", ())),
    ],
)
def test_helped_is_better_than_every_baseline_and_harmed_worse_than_the_reference(
    gains: dict[str, Estimate], expected: Outcome
) -> None:
    assert outcomes({"it": gains})["it"] == expected


def test_what_is_claimed_depends_on_what_else_is_looked_at() -> None:
    one: dict[Any, dict[str, Estimate]] = {"one": {"start": gain(0.1, 0.02), "pixels": gain(0.1, 0.04)}}
    assert outcomes(one)["one"] == Outcome("helped", ())
    among = outcomes({**one, "other": {"start": gain(0.1, 0.5)}})
    assert among["one"] == Outcome("unclear", ("pixels",)), "pixels alone fall after the correction"
    assert among["other"] == Outcome("unclear", ("start",))
    beside_nothing = outcomes({**one, "missing": {}, "few": {"start": gain(0.3, math.nan)}})
    assert beside_nothing["one"].name == "helped", "what cannot be tested takes nothing from the others"


def test_claims_have_a_side_and_are_corrected_for_all_of_them() -> None:
    gains = {"a": gain(0.1, 0.01), "b": gain(-0.1, 0.01), "c": gain(0.1, 0.04), "d": gain(0.2, math.nan)}
    assert claims(gains) == {"a": "better", "b": "worse", "c": "better", "d": None}
    assert claims({**gains, "e": gain(0.0, 1.0)}) == {"a": "better", "b": "worse", "c": None, "d": None, "e": None}
    assert claims({}) == {}
