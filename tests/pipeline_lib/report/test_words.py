import pytest

from pipeline_lib.report.words import between, clean, count, difference, joined, runs, score, significant, some


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (0.9876, "balanced_accuracy", "98.8%"),
        (-0.0, "accuracy", "0.0%"),
        (0.631, "quadratic_kappa", "0.63"),
        (-0.001, "ari", "0.00"),
        (-0.25, "ari", "−0.25"),  # noqa: RUF001
        (1234.5, "mae", "1,234"),
        (0.01234, "mae", "0.0123"),
        (12.0, "mae", "12"),
        (0.5, "of_tomorrow", "0.50"),
        (None, "mae", "not known"),
        (float("nan"), "ari", "not known"),
    ],
)
def test_score(value, metric, text):
    assert score(value, metric) == text


@pytest.mark.parametrize(
    ("gain", "metric", "text"),
    [
        (0.065, "balanced_accuracy", "+6.5 points"),
        (-0.0001, "balanced_accuracy", "0.0 points"),
        (-0.12, "ari", "−0.12"),  # noqa: RUF001
        (0.001, "ari", "0.00"),
        (-2.5, "mae", "−2.5"),  # noqa: RUF001
        (1500.0, "mae", "+1,500"),
        (0.0, "mae", "0"),
    ],
)
def test_difference(gain, metric, text):
    assert difference(gain, metric) == text


def test_intervals_and_counts():
    assert between(-0.01, 0.02, "accuracy") == "95% interval −1.0 to +2.0"  # noqa: RUF001
    assert between(None, None, "accuracy") == ""
    assert (count(1, "class", "classes"), count(1200, "class", "classes")) == ("1 class", "1,200 classes")
    assert (runs(1), runs(3)) == ("in this one run", "over 3 seeds")
    assert significant(0.00001) == "1e-05".replace("-", "−")  # noqa: RUF001


def test_lists():
    assert [joined(list("abc")[:number]) for number in range(4)] == ["", "a", "a and b", "a, b and c"]
    assert some("abcd") == "a, b, c and d"
    assert some("abcdef", "or") == "a, b, c, d or 2 more"


def test_a_name_is_printable_and_short():
    assert clean("a\n\tb\x1b[0m") == "a b [0m"
    assert len(clean("x" * 300)) == 60
