import numpy as np
import pytest
from scipy import stats

from pipeline_lib.report.comparison import compare, render_comparison

SCORES = [0.80, 0.84, 0.82, 0.90, 0.70, 0.80]
RUNS = [{"method": method, "seed": seed} for method in ("simclr", "vicreg") for seed in (0, 1, 2)]


def compared(runs, scores, maximise=True):
    """Compare runs whose names are their numbers; a score may be None for a run that did not end."""
    found = {str(number): score for number, score in enumerate(scores) if score is not None}
    return compare({str(number): run for number, run in enumerate(runs)}, found, maximise)


def test_the_interval_is_students_t_over_the_seeds():
    best, _ = compared(RUNS, SCORES)
    expected = stats.t.interval(0.95, 2, loc=np.mean(SCORES[:3]), scale=stats.sem(SCORES[:3]))
    assert best.values == {"method": "simclr"}
    assert (best.low, best.high) == pytest.approx(expected)
    assert best.mean == pytest.approx(np.mean(SCORES[:3]))
    assert best.runs == dict(zip("012", SCORES[:3], strict=True))


@pytest.mark.parametrize(("maximise", "order"), [(True, ["simclr", "vicreg"]), (False, ["vicreg", "simclr"])])
def test_the_best_mean_stands_first(maximise, order):
    assert [setting.values["method"] for setting in compared(RUNS, SCORES, maximise)] == order


def test_runs_that_did_not_end_are_left_out_and_settings_without_any_come_last():
    settings = compared(RUNS, [None, None, None, 0.1, None, None])
    assert [setting.values["method"] for setting in settings] == ["vicreg", "simclr"]
    assert (settings[0].mean, settings[0].low) == (0.1, None), "one seed has no interval"
    assert settings[1].mean is None


def test_without_seeds_every_combination_is_a_setting():
    assert [setting.mean for setting in compared([{"lr": 1}, {"lr": 2}], [0.1, 0.2])] == [0.2, 0.1]


def test_single_trainings_are_runs_of_one_setting():
    runs = [{"lr": lr, "seed": seed, "seeds": [seed]} for lr in (0.1, 0.2) for seed in (0, 1)]
    best, other = compared(runs, [0.5, 0.7, 0.1, 0.3])
    assert (best.values, best.mean) == ({"lr": "0.1"}, pytest.approx(0.6))
    assert list(best.chance.values()) == ["seed 0, seeds [0]", "seed 1, seeds [1]"]
    assert other.mean == pytest.approx(0.2)


def test_lists_of_several_trainings_are_settings():
    settings = compared([{"seeds": [0]}, {"seeds": [0, 1]}], [0.5, 0.6])
    assert [setting.values for setting in settings] == [{"seeds": "[0, 1]"}, {"seeds": "[0]"}]


@pytest.mark.parametrize(("lead", "told"), [(0.01, True), (0.5, False)])
def test_a_lead_within_the_intervals_is_said_to_be_none(lead, told):
    settings = compared(RUNS, [0.30 + lead, 0.31 + lead, 0.32 + lead, 0.30, 0.31, 0.32])
    page = render_comparison("x", "m", True, settings, {}, [])
    assert ("do not tell them apart" in page) is told


def test_names_are_escaped_and_nothing_is_loaded():
    settings = compared([{"a": "<script>alert(1)</script>", "seed": "<u>"}], [0.5])
    page = render_comparison("<b>x</b>", "m", True, settings, {"commit": "<i>"}, ["<img src=x>"])
    assert "<script" not in page
    assert "<b>x" not in page
    assert "<u>" not in page
    assert "<img" not in page
    assert "http" not in page.replace("http-equiv", "")
