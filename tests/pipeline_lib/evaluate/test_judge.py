import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from pipeline_lib.evaluate.judge import Judge
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.tasks import Task
from pipeline_lib.stats.intervals import estimate
from tests.pipeline_lib.evaluate.toy import judge_of, right_share, task, truth
from tests.pipeline_lib.labels.examples import values_of


def test_only_labelled_images_of_the_given_rows_are_judged() -> None:
    values = truth(60)
    values[10:20] = None
    keys = np.array([f"{row}" for row in range(60)], dtype=object)
    judge = Judge(task(values), values, keys, np.arange(5, 40), seed=0)
    assert list(judge.rows) == [*range(5, 10), *range(20, 40)]
    assert list(judge.truth_N) == list(values[judge.rows])
    assert judge.num_groups == len(judge.blocks_N) == 25 and judge.problem is None


def test_images_of_one_group_are_in_one_block_and_left_out_together() -> None:
    values, keys = truth(120), [f"patient {row // 6}" for row in range(120)]
    judge = judge_of(values, keys=keys)
    assert judge.num_groups == 20
    assert pd.Series(judge.blocks_N).groupby(keys).nunique().eq(1).all()
    found = judge.replicates([[right_share(values, 0.8)]])
    assert found.left_out_SRJ.shape == (1, 1, 20)


def test_few_groups_have_no_interval() -> None:
    """However many images they are of."""
    values = truth(120)
    few = judge_of(values, keys=[f"patient {row % 3}" for row in range(120)])
    known = estimate(few.replicates([[right_share(values, 0.8)]]))
    assert known.low is None and np.isnan(known.p) and 0 < known.value < 1
    assert estimate(judge_of(values).replicates([[right_share(values, 0.8)]])).low is not None


def test_groups_widen_the_interval_where_they_are_right_or_wrong_together() -> None:
    values = truth(120)
    wrong = np.repeat(np.random.default_rng(0).random(20) < 0.3, 6)
    answers = np.where(wrong, "none", values)
    alone, grouped = (
        estimate(judge_of(values, keys=keys).replicates([[answers]]))
        for keys in (None, [f"patient {row // 6}" for row in range(120)])
    )
    assert alone.value == grouped.value
    assert grouped.high - grouped.low > 1.5 * (alone.high - alone.low)


def test_trainings_and_draws_are_the_axes_of_the_score() -> None:
    values = truth(60)
    judge = judge_of(values)
    answers = [[right_share(values, 0.8, seed=10 * s + r) for r in range(3)] for s in range(2)]
    found = judge.replicates(answers)
    assert found.values_SR.shape == (2, 3)
    for s in range(2):
        for r in range(3):
            assert found.values_SR[s, r] == pytest.approx(balanced_accuracy_score(list(values), list(answers[s][r])))


def test_a_class_that_is_too_rare_is_left_out_and_counted() -> None:
    values = truth(60)
    values[:4] = "rare"
    judge = judge_of(values)
    assert judge.left_out == 1 and judge.problem is None
    wrong_there = np.where(values == "rare", "a", values)
    assert judge.replicates([[wrong_there]]).values_SR[0, 0] == 1


@pytest.mark.parametrize(
    ("kind", "values", "problem"),
    [
        ("multiclass", [None] * 20, "no_target_test_labels"),
        ("regression", [np.nan] * 20, "no_target_test_labels"),
        ("multiclass", ["a"] * 20, "one_class"),
        ("binary", ["yes"] * 3, "one_class"),
        ("ordinal", ["1"] * 20, "one_class"),
        ("multilabel", ["a;b"] * 20, "one_class"),
        ("multilabel", [";"] * 20, "too_few_images"),
        ("multiclass", ["a"] * 20 + ["b"] * 4, "too_few_images"),
        ("multiclass", ["a", "b"], "too_few_images"),
        ("ordinal", ["1", "2", "3"], "too_few_images"),
        ("multilabel", ["a", "b"] * 2, "too_few_images"),
        ("regression", [1.0, 2.0], "too_few_images"),
        ("regression", [1.0], "too_few_images"),
        ("regression", [1.0] * 20, None),
        ("multiclass", ["a", "b"] * 5, None),
        ("multilabel", ["a", "b"] * 5, None),
    ],
)
def test_what_keeps_a_label_from_being_scored(kind: str, values: list, problem: str | None) -> None:
    stored = np.array(values, dtype=np.float64 if KINDS[kind].stored == "float64" else object)
    judge = judge_of(stored, kind, learn_from="nothing")
    assert judge.problem == problem
    assert (judge.problem is None) == bool(np.isfinite(judge.constant().values_SR).all())


@pytest.mark.parametrize("kind", KINDS)
def test_the_constant_answer_is_one_for_all_and_no_model_of_it_is_better(kind: str) -> None:
    values = values_of(kind)
    judge = judge_of(values, kind)
    assert len({str(value) for value in judge.constant_N}) == 1
    perfect, constant = judge.replicates([[judge.truth_N]]), judge.constant()
    better = perfect.values_SR > constant.values_SR
    assert better.all() == judge.kind.higher_is_better


@pytest.mark.parametrize("kind", KINDS)
def test_scores_begin_with_the_main_one_and_are_means_over_trainings(kind: str) -> None:
    values = values_of(kind)
    judge = judge_of(values, kind)
    constant, perfect = judge.scores([[judge.constant_N]]), judge.scores([[judge.truth_N]])
    both = judge.scores([[judge.constant_N], [judge.truth_N]])
    assert next(iter(both)) == judge.kind.main
    assert both[judge.kind.main] == pytest.approx((constant[judge.kind.main] + perfect[judge.kind.main]) / 2)
    assert both[judge.kind.main] == pytest.approx(
        judge.replicates([[judge.constant_N], [judge.truth_N]]).values_SR.mean()
    )


def test_areas_leave_out_what_is_rare_or_absent_and_are_means_over_trainings() -> None:
    values = truth(120)
    values[:4] = "rare"
    spec = {"kind": "multiclass", "classes": ["absent", "c", "a", "rare", "b"]}
    judge = Judge(Task("x", "multiclass", "source", spec, {}), values, np.arange(120).astype(object), np.arange(120), 0)
    trainings = [np.random.default_rng(seed).dirichlet(np.ones(5), 120) for seed in (0, 1)]
    trainings[0][:, 1] += values == "c"
    expected = [
        np.mean([roc_auc_score(values == name, one[:, place]) for name, place in (("c", 1), ("a", 2), ("b", 4))])
        for one in trainings
    ]
    assert judge.areas(trainings) == {"auroc": pytest.approx(np.mean(expected))}
    assert judge.areas([trainings[0]])["auroc"] > judge.areas([trainings[1]])["auroc"]
    assert judge.areas([trainings[0], None]) == judge.areas([]) == {}


def test_the_area_of_a_class_that_a_model_does_not_know_is_that_of_chance() -> None:
    values = truth(120)
    judge = judge_of(values)
    sure = judge.kind.members(values, ["a", "b"]).astype(float)
    known = Judge(task(values[values != "c"]), values, np.arange(120).astype(object), np.arange(120), 0)
    assert known.areas([sure])["auroc"] == pytest.approx((1 + 1 + 0.5) / 3)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].areas])
def test_areas_of_a_perfect_model_are_1(kind: str) -> None:
    judge = judge_of(values_of(kind), kind)
    perfect = judge.kind.members(judge.truth_N, judge.spec["classes"]).astype(np.float32)
    assert judge.areas([perfect]) == dict.fromkeys(judge.kind.areas, 1.0)


def test_the_order_of_an_ordinal_label_reaches_its_score() -> None:
    """S for L is one step off where M comes first, and two in natural order."""
    values = np.array(["S", "M", "L"] * 20, dtype=object)
    answers = np.array(["L", "M", "S"] * 20, dtype=object)
    scores = {}
    for order in (["M", "S", "L"], ["L", "M", "S"], None):
        spec = {"order": order} if order else {}
        judge = Judge(
            Task("size", "ordinal", "source", spec, {}), values, np.arange(60).astype(object), np.arange(60), seed=0
        )
        scores["".join(order or [])] = judge.replicates([[answers]]).values_SR[0, 0]
    assert scores["MSL"] > scores["LMS"] == scores[""]
