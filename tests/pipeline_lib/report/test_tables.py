import math

import pytest

from pipeline_lib.report.sections import settings
from pipeline_lib.report.tables import best_of, by_model, marked, number, projection_quality
from tests.pipeline_lib.report.evaluations import make_score


@pytest.mark.parametrize(
    ("values", "lower", "best"),
    [
        ([0.1, 0.3, 0.2], False, [False, True, False]),
        ([0.1, 0.3, 0.2], True, [True, False, False]),
        ([0.3, 0.30001, 0.2], False, [True, True, False]),
        ([None, 0.2, math.nan, 0.1], False, [False, True, False, False]),
        ([0.5, 0.5], False, [False, False]),
        ([0.5], False, [False]),
        ([], False, []),
    ],
)
def test_best_of(values, lower, best):
    assert best_of(values, lower) == best


def test_by_model_marks_the_best_by_the_direction_of_the_metric():
    records = [
        make_score("target", model, label, kind, value)
        for model, label, kind, value in (
            ("a", "x", "multiclass", 0.9),
            ("b", "x", "multiclass", 0.8),
            ("a", "y", "regression", 0.9),
            ("b", "y", "regression", 0.8),
            ("b", "z", "ordinal", 0.3),
        )
    ]
    table = by_model(records)
    assert table["models"] == ["a", "b"]
    assert [[cell["best"] for cell in row["cells"]] for row in table["rows"]] == [
        [True, False],
        [False, True],
        [False, False],
    ]
    assert [row["constant"] for row in table["rows"]] == [0.1, 1.2, 0.1]
    assert table["rows"][2]["cells"][0]["value"] is None


@pytest.mark.parametrize(("kind", "values"), [("multiclass", (0.12, 0.1)), ("regression", (1.18, 1.3))])
def test_what_does_no_better_than_a_constant_answer_is_never_the_best(kind, values):
    records = [make_score("target", name, "x", kind, value) for name, value in zip("ab", values, strict=True)]
    assert not any(cell["best"] for row in by_model(records)["rows"] for cell in row["cells"])


def test_marked_and_projection_quality():
    assert [row["best"] for row in marked([{"a": 1.0, "b": None}, {"a": 2.0, "b": 1.0}], ("a", "b"))] == [[], ["a"]]
    records = [
        {"representation": name, "method": "pca", "trustworthiness": value, "continuity": 0.5}
        for name, value in (("p", 0.1), ("q", 0.2))
    ]
    first, second = projection_quality(records)
    assert first == {"representation": "p", "pca_trustworthiness": 0.1, "pca_continuity": 0.5, "best": []}
    assert second["best"] == ["pca_trustworthiness"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"),
        (math.nan, "\N{EN DASH}"),
        (1234, "1,234"),
        (0.98765, "0.988"),
        (-0.5, "\N{MINUS SIGN}0.500"),
        (0.00001, "1.0e\N{MINUS SIGN}05"),
        (0.0, "0.000"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_settings_part_from_their_comments():
    text = "# Head.\n\na: 1  # one\nb: '#2'\nc:\n  d: x#y   # three # four\n"
    head, block = settings(text)
    assert head["lines"] == [{"setting": "", "comment": "Head."}]
    assert [(line["setting"], line["comment"]) for line in block["lines"]] == [
        ("a: 1", "one"),
        ("b: '#2'", ""),
        ("c:", ""),
        ("  d: x#y", "three # four"),
    ]
