import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from pipeline_lib.report.charts import (
    OUTCOME_SHAPES,
    Series,
    forest_axis,
    forest_row,
    icon,
    line_chart,
    linear_axis,
    log_axis,
    tight_axis,
)


@pytest.mark.parametrize(
    "values", [[0, 1], [-0.082, 0.059], [3.1, 3.10001], [5, 5], [0, 0], [-7, -7], [1e-9, 2e-9], [1e6, 3e7], []]
)
def test_axis_holds_its_values_between_round_ticks(values):
    axis = linear_axis(values)
    assert 2 <= len(axis.ticks) <= 8
    assert all(-0.01 <= axis.at(value) <= 100.01 for value in values)
    steps = [b - a for a, b in pairwise(axis.ticks)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-3)


def test_axis_ignores_what_is_not_finite():
    assert linear_axis([0, 1, math.nan, math.inf]) == linear_axis([0, 1])


def test_tight_axis_ends_with_its_values():
    axis = tight_axis(range(1, 16))
    assert (axis.low, axis.high) == (1, 15)
    assert all(1 <= tick <= 15 for tick in axis.ticks)
    assert math.isfinite(tight_axis([1]).at(1))


def test_log_axis_puts_equal_factors_at_equal_distances():
    axis = log_axis([1, 10, 100, 10])
    assert axis.ticks == (1, 10, 100)
    assert [axis.at(tick) for tick in axis.ticks] == [0, 50, 100]
    assert log_axis([5]).at(5) == 50


def test_each_outcome_has_a_shape_of_its_own():
    assert len(set(OUTCOME_SHAPES.values())) == len(OUTCOME_SHAPES) == 5
    assert len({str(icon(name)) for name in OUTCOME_SHAPES}) == 5


def test_forest_row_puts_the_interval_on_the_axis():
    axis = linear_axis([-0.1, 0.1])
    row = ET.fromstring(forest_row(axis, 0.05, 0.025, 0.075, "helped"))
    interval = next(line for line in row.iter("line") if line.get("class") == "interval")
    assert (interval.get("x1"), interval.get("x2")) == ("62.5%", "87.5%")
    mark = next(part for part in row.iter("svg") if part.find("path[@class='mark']") is not None)
    assert mark.get("x") == "75.0%"
    zero = next(line for line in row.iter("line") if line.get("class") == "zero")
    assert zero.get("x1") == "50.0%"


@pytest.mark.parametrize(("gain", "edge"), [(-3.0, 0), (3.0, 100)])
def test_forest_row_draws_what_lies_beyond_the_axis_at_its_end(gain, edge):
    row = forest_row(linear_axis([-1, 1]), gain, gain - 0.5, gain + 0.5, "harmed")
    places = [float(at) for at in re.findall(r'x[12]?="([^"%]+)%"', row)]
    assert min(places) >= 0 and max(places) <= 100
    (mark,) = re.findall(r'<svg x="([^"%]+)%"', row)
    assert float(mark) == edge


def test_forest_row_of_what_was_not_measured_is_empty():
    assert "mark" not in forest_row(linear_axis([-1, 1]), None, None, None, "not_measurable")


def test_forest_axis_has_signs():
    assert re.findall(r">([^<>]+)</text>", forest_axis(linear_axis([-0.1, 0.1]))) == [
        "\N{MINUS SIGN}10",
        "\N{MINUS SIGN}5",
        "0",
        "+5",
        "+10",
    ]


def test_line_chart_draws_each_value_and_escapes_names():
    lines = [Series("<b>&", [1, 2, 4], [0.0, 0.5, 1.0], [0.0, 0.4, 0.9], [0.1, 0.6, 1.0]), Series("b", [1, 4], [1, 1])]
    chart = ET.fromstring(
        line_chart('a "label"', lines, log_axis([1, 2, 4]), linear_axis([0, 1]), height=100, marks=True)
    )
    assert chart.get("aria-label") == 'a "label"'
    assert [line.get("points") for line in chart.iter("polyline")] == ["0,100 50,50 100,0", "0,0 100,0"]
    assert len(list(chart.iter("polygon"))) == 1
    assert len([path for path in chart.iter("path") if "dot" in path.get("class")]) == 5
    assert [text.text for text in chart.iter("text") if text.get("class").startswith("name")].count("<b>&") == 1


def test_line_chart_skips_what_is_not_a_number():
    chart = ET.fromstring(
        line_chart(
            "x", [Series("a", [1, 2, 3], [1.0, math.nan, 3.0])], tight_axis([1, 3]), linear_axis([1, 3]), height=9
        )
    )
    assert len(next(chart.iter("polyline")).get("points").split()) == 2


def test_what_is_short_is_hollow_and_a_line_to_compare_with_has_no_marks():
    lines = [Series("a", [1, 2], [1, 2], hollow=[False, True]), Series("constant", [1, 2], [1, 1], plain=True)]
    chart = ET.fromstring(line_chart("x", lines, linear_axis([1, 2]), linear_axis([1, 2]), height=9, marks=True))
    assert [path.get("class") for path in chart.iter("path")] == ["dot s0", "hollow s0"]
    assert [line.get("class") for line in chart.iter("polyline")] == ["line s0", "line base"]


@pytest.mark.parametrize("end", [0, 0.5, 1])
def test_names_at_the_ends_of_lines_do_not_cover_one_another(end):
    lines = [Series(str(index), [0, 1], [0, abs(end - index / 1000)]) for index in range(6)]
    chart = ET.fromstring(line_chart("x", lines, linear_axis([0, 1]), linear_axis([0, 1]), height=200))
    heights = sorted(float(text.get("y")) for text in chart.iter("text") if text.get("class").startswith("name"))
    assert len(heights) == 6
    assert -15 < heights[0] <= heights[-1] < 215
    assert min(b - a for a, b in pairwise(heights)) >= 14.9
