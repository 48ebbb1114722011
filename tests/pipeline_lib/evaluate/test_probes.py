from typing import Any

import numpy as np
import pytest

from pipeline_lib.evaluate.probes import AS_CLASSES, LENGTH, draw_labels, probe, probe_features
from pipeline_lib.labels import KINDS
from tests.pipeline_lib.evaluate.toy import judge_of

Target = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture
def target() -> Target:
    """Features that tell three classes apart, their labels, train and test rows."""
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], 30)
    x = np.eye(3)[classes] + 0.05 * rng.normal(size=(90, 3))
    rows = rng.permutation(90)
    return x.astype(np.float32), np.array(list("abc"), dtype=object)[classes], rows[:60], rows[60:]


def test_draws_hold_so_many_labels_of_each_class_and_grow(target: Target) -> None:
    _, truth, train, _ = target
    drawn = draw_labels(truth, train, [5, 1], 4, seed=0, by_class=True)
    assert {amount: (len(draws.rows), draws.short) for amount, draws in drawn.items()} == {1: (4, False), 5: (4, False)}
    for few, many in zip(drawn[1].rows, drawn[5].rows, strict=True):
        assert sorted(truth[few]) == list("abc")
        assert sorted(truth[many]) == sorted("abc" * 5)
        assert set(few) <= set(many) <= set(train)
    assert len({tuple(rows) for rows in drawn[5].rows}) == 4


def test_labels_that_are_missing_are_never_drawn(target: Target) -> None:
    _, truth, train, _ = target
    truth[train[:20]] = None
    for by_class in (True, False):
        drawn = draw_labels(truth, train, [3], 5, seed=0, by_class=by_class)
        assert not {row for rows in drawn[3].rows for row in rows} & set(train[:20])


def test_a_class_with_too_few_labels_gives_what_it_has_and_is_marked(target: Target) -> None:
    _, truth, train, _ = target
    truth[train[truth[train] == "b"][3:]] = None
    drawn = draw_labels(truth, train, [1, 3, 5], 2, seed=0, by_class=True)
    assert [drawn[amount].short for amount in (1, 3, 5)] == [False, False, True]
    for rows in drawn[5].rows:
        assert {name: list(truth[rows]).count(name) for name in "abc"} == {"a": 5, "b": 3, "c": 5}


def test_labels_without_classes_are_drawn_in_all() -> None:
    truth = np.random.default_rng(0).normal(size=100)
    train = np.arange(50)
    drawn = draw_labels(truth, train, [1, 5, 6], 3, seed=0, by_class=False)
    assert [len(drawn[amount].rows[0]) for amount in (1, 5, 6)] == [AS_CLASSES, 5 * AS_CLASSES, 50]
    assert [drawn[amount].short for amount in (1, 5, 6)] == [False, False, True]
    assert set(drawn[1].rows[0]) <= set(drawn[5].rows[0])


def test_without_a_label_there_is_nothing_to_draw(target: Target) -> None:
    _, truth, train, _ = target
    truth[train] = None
    assert draw_labels(truth, train, [1], 3, seed=0, by_class=True) == {}
    assert draw_labels(truth, np.empty(0, np.int64), [1], 3, seed=0, by_class=True) == {}


def test_the_labels_of_the_test_split_have_no_part_in_a_draw(target: Target) -> None:
    _, truth, train, test = target
    before = draw_labels(truth, train, [2], 3, seed=0, by_class=True)
    truth[test] = "z"
    after = draw_labels(truth, train, [2], 3, seed=0, by_class=True)
    np.testing.assert_array_equal(before[2].rows, after[2].rows)


def test_a_probe_is_right_where_classes_are_apart(target: Target) -> None:
    x, truth, train, test = target
    draws = draw_labels(truth, train, [5], 3, seed=0, by_class=True)[5]
    answers = probe(probe_features(x, train), truth, "multiclass", draws.rows, test)
    assert len(answers) == 3
    assert all((answer == truth[test]).mean() > 0.95 for answer in answers)


@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_answers_as_the_label_is_stored(kind: str) -> None:
    """And better than a constant, where the features tell the label."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)).astype(np.float32)
    tags = np.array([";".join(name for name, one in zip("pq", row, strict=True) if one > 0) or ";" for row in x[:, :2]])
    values: dict[str, Any] = {
        "multiclass": np.where(x[:, 0] > 0.5, "a", np.where(x[:, 1] > 0, "b", "c")),
        "binary": np.where(x[:, 0] > 0, "yes", "no"),
        "ordinal": np.digitize(x[:, 0], [-0.5, 0.5]).astype(str),
        "multilabel": tags,
        "regression": 7 + 1000 * x[:, 2].astype(np.float64),
    }
    truth = values[kind] if kind == "regression" else values[kind].astype(object)
    train, test = np.arange(120), np.arange(120, 200)
    drawn = draw_labels(truth, train, [10], 2, seed=0, by_class=KINDS[kind].has_classes)[10]
    answers = probe(probe_features(x, train), truth, kind, drawn.rows, test)
    judge = judge_of(truth[test], kind)
    assert all(answer.dtype == (np.float64 if kind == "regression" else object) for answer in answers)
    gain = judge.replicates([answers]) - judge.constant()
    assert ((gain.values_SR > 0) == judge.kind.higher_is_better).all()


def test_a_number_does_not_depend_on_its_unit(target: Target) -> None:
    x, _, train, test = target
    truth = x[:, 0].astype(np.float64)
    seen = probe_features(x, train)
    one, other = (probe(seen, truth * unit, "regression", [train[:30]], test)[0] for unit in (1, 1e6))
    np.testing.assert_allclose(other, one * 1e6, rtol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kind", "values", "answer"),
    [
        ("multiclass", ["only"] * 6, "only"),
        ("binary", ["yes"], "yes"),
        ("multilabel", [";"] * 6, ";"),
        ("multilabel", ["a;b"] * 6, "a;b"),
        ("multilabel", ["a", ";"] * 3, None),
        ("multilabel", ["a", "a;b"] * 3, None),
        ("regression", [3.5] * 6, 3.5),
        ("regression", [3.5], 3.5),
    ],
)
def test_a_draw_that_says_nothing_is_answered_with_what_it_says(kind: str, values: list, answer: Any) -> None:
    x = np.random.default_rng(0).normal(size=(12, 3))
    truth = np.array([*values, *values[:1] * 20][:12], dtype=np.float64 if kind == "regression" else object)
    (found,) = probe(x, truth, kind, [np.arange(len(values))], np.arange(6, 12))
    assert len(found) == 6
    if answer is not None:
        assert set(found) == {answer} if kind != "regression" else np.allclose(found, answer)
    else:
        assert set(found) <= {"a", ";", "a;b"}


def test_the_test_split_has_no_part_in_what_a_probe_sees(target: Target) -> None:
    x, _, train, test = target
    seen = probe_features(x, train)
    assert np.square(seen[train]).sum(axis=1).mean() == pytest.approx(LENGTH**2)
    changed = x.copy()
    changed[test] += 7
    np.testing.assert_array_equal(probe_features(changed, train)[train], seen[train])


def test_probe_features_do_not_depend_on_the_scale_of_the_representation(target: Target) -> None:
    x, _, train, _ = target
    np.testing.assert_allclose(probe_features(1000 * x, train), probe_features(x, train), rtol=1e-4, atol=1e-6)
    assert np.isfinite(probe_features(np.ones_like(x), train)).all()
    assert np.isfinite(probe_features(np.zeros_like(x), train)).all()
