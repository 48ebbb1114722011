import math

import pytest

from flows.publish.compare import dropped
from pipeline_lib.core.errors import UserError


@pytest.mark.parametrize(
    ("value", "last", "amount", "told"),
    [
        (0.80, 0.90, 0.05, True),
        (0.88, 0.90, 0.05, False),
        (0.99, 0.90, 0.05, False),
        (1.20, 1.00, -0.1, True),
        (1.05, 1.00, -0.1, False),
        (0.50, 1.00, -0.1, False),
        (0.89, 0.90, 0.0, True),
        (math.nan, 0.90, 0.5, True),
    ],
)
def test_a_drop_beyond_the_amount_is_told(value, last, amount, told):
    assert bool(dropped({"a": value}, {"a": last}, {"a": amount})) is told


def test_what_was_not_measured_last_time_is_not_compared():
    assert dropped({"a": 1.0}, {}, {"a": 0.1}) == []


def test_a_metric_that_is_not_there_is_named():
    with pytest.raises(UserError, match=r"accurcy, which no stage leaves.*accuracy"):
        dropped({"accuracy": 1.0}, {}, {"accurcy": 0.1})
