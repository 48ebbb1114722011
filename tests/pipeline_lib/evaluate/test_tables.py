from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from pipeline_lib.evaluate.flat import flat_metrics
from pipeline_lib.evaluate.probes import draw_labels
from pipeline_lib.evaluate.tables import cluster_rows, delta_m, probe_rows, score_rows
from pipeline_lib.labels import KINDS
from tests.pipeline_lib.evaluate.toy import judge_of, right_share, truth
from tests.pipeline_lib.labels.examples import values_of
from tests.pipeline_lib.report.evaluations import make_evaluation

TRUTH = truth(120)


def test_every_representation_is_probed_with_the_same_labels() -> None:
    rng = np.random.default_rng(0)
    x = (np.eye(3)[np.unique(TRUTH, return_inverse=True)[1]] + rng.normal(size=(120, 3))).astype(np.float32)
    train = np.arange(60)
    judge = judge_of(np.where(np.arange(120) < 60, None, TRUTH))
    draws = draw_labels(TRUTH, train, [1, 5, 30], 3, seed=0, by_class=True)
    rows, found = probe_rows({"one": [x], "same": [x.copy(), x]}, TRUTH, train, draws, judge, "kind")
    assert [(row["representation"], row["labels_per_class"]) for row in rows] == list(found)
    for amount in (1, 5):
        np.testing.assert_array_equal(found["one", amount].values_SR[0], found["same", amount].values_SR[1])
        assert found["same", amount].values_SR.shape == (2, 3)
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["constant"] == pytest.approx(1 / 3) and row["repeats"] == 3 and row["metric"] == "balanced_accuracy"
        assert row["std"] == pytest.approx(found["one", row["labels_per_class"]].values_SR.std())
        assert row["short"] == (row["labels_per_class"] == 30)
    value = {row["labels_per_class"]: row["value"] for row in rows if row["representation"] == "one"}
    assert value[1] < value[30]


@pytest.mark.parametrize("lacking", ["truth", "draws"])
def test_without_labels_to_learn_or_to_test_there_are_no_probes(lacking: str) -> None:
    judge = judge_of(np.full(120, None, dtype=object) if lacking == "truth" else TRUTH, learn_from="nothing")
    draws = {} if lacking == "draws" else draw_labels(TRUTH, np.arange(60), [1], 2, seed=0, by_class=True)
    assert probe_rows({"x": [np.ones((120, 2))]}, TRUTH, np.arange(60), draws, judge, "kind") == ([], {})


@pytest.mark.parametrize("kind", KINDS)
def test_every_score_has_the_constant_answer_beside_it(kind: str) -> None:
    values = values_of(kind, missing=0)
    judge = judge_of(values, kind)
    rows = list(score_rows("target", "model", "label", judge, [[judge.truth_N]]))
    assert [row["metric"] for row in rows] == list(judge.scores([[judge.truth_N]]))
    assert [row["main"] for row in rows] == [True] + [False] * (len(rows) - 1)
    assert rows[0]["value"] == rows[0]["low"] == rows[0]["high"]
    assert all(row["low"] is None for row in rows[1:])
    for row in rows:
        better = row["value"] > row["constant"] if row["higher_is_better"] else row["value"] < row["constant"]
        assert better, row


def test_confidence_has_its_error_as_the_last_score() -> None:
    judge = judge_of(TRUTH)
    answers = [right_share(TRUTH, 0.75, seed) for seed in (0, 1)]
    sure = [np.full(120, 0.9), np.full(120, 0.7)]
    *_, row = score_rows("target", "model", "label", judge, [[one] for one in answers], sure)
    right = [(one == TRUTH).mean() for one in answers]
    assert row["metric"] == "calibration_error" and not row["higher_is_better"] and row["constant"] is None
    assert row["value"] == pytest.approx(np.mean([abs(0.9 - right[0]), abs(0.7 - right[1])]))
    # A kind without confidence, or a table that has none for some image, has no such score.
    *_, row = score_rows("target", "model", "label", judge, [[answers[0]]], [np.full(120, np.nan)])
    assert row["metric"] == "accuracy"


@pytest.mark.parametrize("kind", KINDS)
def test_areas_stand_beside_those_of_the_constant_answer_where_there_are_probabilities(kind: str) -> None:
    judge = judge_of(values_of(kind, missing=0), kind)
    num, num_classes = len(judge.truth_N), len(judge.spec.get("classes", ()))
    given = ("target", "model", "label", judge, [[judge.truth_N]], [np.full(num, 0.9)])
    chance = np.random.default_rng(0).random((num, num_classes))
    rows = {row["metric"]: row for row in score_rows(*given, [chance] if num_classes else [None])}
    assert list(rows)[-len(judge.kind.areas) - 1 :] == [*judge.kind.areas, "calibration_error"]
    for name in judge.kind.areas:
        assert rows[name]["value"] == judge.areas([chance])[name] and rows[name]["higher_is_better"]
        assert rows[name]["constant"] == judge.areas([np.ones_like(chance)])[name] < 1
    without = [row["metric"] for row in score_rows(*given, [None])]
    assert without == [name for name in rows if name not in judge.kind.areas]


def test_what_cannot_be_scored_has_no_row() -> None:
    judge = judge_of(np.array(["a"] * 20, dtype=object), learn_from="nothing")
    assert list(score_rows("target", "model", "label", judge, [[judge.truth_N]])) == []


ROWS = [
    {"representation": "x", "space": "umap", "clusterer": "kmeans", "silhouette": 0.5},
    {"representation": "x", "space": "features", "clusterer": "hdbscan", "silhouette": None},
]


def test_clusterings_are_scored_on_the_judged_images_beside_the_largest_class() -> None:
    known = TRUTH.copy()
    known[::4] = None
    known[1] = "a"
    judge = judge_of(known)
    runs = [[np.unique(right_share(TRUTH, 0.9, seed), return_inverse=True)[1] for seed in (0, 1)]]
    clusters = {("x", "umap", "kmeans"): runs, ("x", "features", "hdbscan"): [[np.zeros(120, np.int64)]]}
    first, one_cluster = cluster_rows(ROWS, clusters, judge)
    expected = [adjusted_rand_score(list(judge.truth_N), run[judge.rows]) for run in runs[0]]
    assert first["ari"] == pytest.approx(np.mean(expected))
    assert first["ari_low"] < first["ari"] < first["ari_high"]
    largest = max(list(judge.truth_N).count(name) for name in "abc") / len(judge.rows)
    assert first["largest_class"] == one_cluster["largest_class"] == pytest.approx(largest)
    # One cluster has the accuracy of the largest class, which is why that stands beside it, and no agreement.
    assert one_cluster["accuracy"] == pytest.approx(largest)
    assert one_cluster["ari"] == pytest.approx(0) and one_cluster["ami"] == pytest.approx(0)
    assert one_cluster["ari_low"] is None and one_cluster["silhouette"] is None


@pytest.mark.parametrize("kind", [None, "regression", "multilabel"])
def test_without_classes_clusterings_have_no_score(kind: str | None) -> None:
    judge = judge_of(values_of(kind), kind) if kind else None
    (row,) = cluster_rows(ROWS[:1], {}, judge)
    assert row["silhouette"] == 0.5
    assert {row[key] for key in ("ari", "ari_low", "ari_high", "ami", "accuracy", "largest_class")} == {None}


def compared(label: str, value: float | None, alone: float, kind: str = "multi-task") -> dict[str, Any]:
    return {"kind": kind, "label": label, "value": value, "baselines": [{"name": "single_task", "value": alone}]}


def test_delta_m_is_the_mean_relative_change_of_errors() -> None:
    judges = {"kind": judge_of(TRUTH), "size": judge_of(np.arange(20.0), "regression"), "bad": judge_of(TRUTH)}
    rows = [compared("kind", 0.9, 0.8), compared("size", 3.0, 2.0), compared("other", 0, 0, "transductive")]
    # Of an error of 0.2 a half is left, and one of 2 has grown by half.
    found = delta_m(rows, judges)
    assert found is not None and found["value"] == pytest.approx((0.5 - 0.5) / 2)
    rows[1] = compared("size", 1.0, 2.0)
    assert delta_m(rows, judges) == {"value": pytest.approx(0.5), "low": None, "high": None}


def test_delta_m_needs_two_labels_with_an_error() -> None:
    judges = {name: judge_of(TRUTH) for name in "abc"}
    assert delta_m([], judges) is None
    assert delta_m([compared("a", 0.9, 0.8)], judges) is None
    assert delta_m([compared("a", 0.9, 0.8), compared("b", 1.0, 1.0), compared("c", None, 0.5)], judges) is None
    found = delta_m([compared("a", 0.9, 0.8), compared("b", 0.5, 1.0), compared("c", 0.4, 0.2)], judges)
    assert found is not None and found["value"] == pytest.approx((0.5 + 0.25) / 2)


def test_flat_names_hold_every_number_and_none_twice() -> None:
    evaluation = make_evaluation()
    flat = flat_metrics(evaluation)
    assert all(value is None or isinstance(value, (int, float)) for value in flat.values())
    parts = {name.split(".")[0] for name in flat}
    assert {"gain", "probe", "worth", "clustering", "projection", "shift"} <= parts
    alternatives = [row for one in evaluation["worth"] for row in one["rows"] if row["role"] == "alternative"]
    numbers = (
        3 * len(alternatives)
        + sum(3 for _ in evaluation["comparisons"])
        + len(evaluation["probes"])
        + len(evaluation["scores"])
        + len(evaluation["affinity"])
    )
    numbers += 6 * len(evaluation["clusterings"]) + 2 * (len(evaluation["projections"]) + len(evaluation["shift"]))
    assert len(flat) == numbers


def test_flat_gains_are_those_over_the_reference_and_null_where_there_are_none() -> None:
    measured = {**compared("digit", 0.9, 0.8), "kind": "transductive"}
    measured["baselines"] = [{"gain": 0.1, "low": 0.05, "high": 0.15}, {"gain": 0.7, "low": 0.6, "high": 0.8}]
    not_measured = {"kind": "self-taught", "label": None, "baselines": []}
    empty = ("affinity", "probes", "worth", "scores", "clusterings", "projections", "shift")
    none = {name: [] for name in empty}
    assert flat_metrics({"comparisons": [measured, not_measured], **none}) == {
        "gain.transductive.digit": 0.1,
        "gain.transductive.digit.low": 0.05,
        "gain.transductive.digit.high": 0.15,
        "gain.self-taught": None,
        "gain.self-taught.low": None,
        "gain.self-taught.high": None,
    }
