import numpy as np
import pytest
from scipy import stats

from pipeline_lib.report.comparison import compare, render_comparison

SCORES = [0.80, 0.84, 0.82, 0.90, 0.70, 0.80]
RUNS = [{"method": method, "seed": seed} for method in ("simclr", "vicreg") for seed in (0, 1, 2)]


def test_the_interval_is_students_t_over_the_seeds():
    best, _ = compare(RUNS, SCORES)
    expected = stats.t.interval(0.95, 2, loc=np.mean(SCORES[:3]), scale=stats.sem(SCORES[:3]))
    assert best.values == {"method": "simclr"}
    assert (best.low, best.high) == pytest.approx(expected)
    assert best.mean == pytest.approx(np.mean(SCORES[:3]))


@pytest.mark.parametrize(("maximise", "order"), [(True, ["simclr", "vicreg"]), (False, ["vicreg", "simclr"])])
def test_the_best_mean_stands_first(maximise, order):
    assert [setting.values["method"] for setting in compare(RUNS, SCORES, maximise)] == order


def test_runs_that_did_not_end_are_left_out_and_settings_without_any_come_last():
    settings = compare(RUNS, [None, None, None, 0.1, None, None])
    assert [setting.values["method"] for setting in settings] == ["vicreg", "simclr"]
    assert (settings[0].mean, settings[0].low) == (0.1, None), "one seed has no interval"
    assert settings[1].mean is None


def test_without_seeds_every_combination_is_a_setting():
    assert [setting.mean for setting in compare([{"lr": 1}, {"lr": 2}], [0.1, 0.2])] == [0.2, 0.1]


@pytest.mark.parametrize(("lead", "told"), [(0.01, True), (0.5, False)])
def test_a_lead_within_the_intervals_is_said_to_be_none(lead, told):
    settings = compare(RUNS, [0.30 + lead, 0.31 + lead, 0.32 + lead, 0.30, 0.31, 0.32])
    page = render_comparison("x", "m", True, settings, {}, [])
    assert ("do not tell them apart" in page) is told


def test_names_are_escaped_and_nothing_is_loaded():
    settings = compare([{"a": "<script>alert(1)</script>"}], [0.5])
    page = render_comparison("<b>x</b>", "m", True, settings, {"commit": "<i>"}, ["<img src=x>"])
    assert "<script" not in page
    assert "<b>x" not in page
    assert "<img" not in page
    assert "http" not in page.replace("http-equiv", "")
