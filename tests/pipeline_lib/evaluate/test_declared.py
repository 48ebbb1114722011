"""Which comparisons are made of what there is, and the code of why one is not."""

from typing import Any

import numpy as np
import pytest

from pipeline_lib.evaluate import declared
from pipeline_lib.evaluate.comparisons import Comparison
from pipeline_lib.evaluate.judge import Judge
from pipeline_lib.evaluate.probed import Probed
from pipeline_lib.evaluate.probes import Draws
from pipeline_lib.labels.tasks import Task
from tests.pipeline_lib.evaluate.toy import judge_of, predictions_of, right_share, task, truth

TRUTH = truth(120)
NUMBERS = np.random.default_rng(0).normal(size=120)
IDS = np.array([f"id {row}" for row in range(120)], dtype=object)
DRAWS = {amount: Draws([np.arange(3)] * 2, short=amount > 5) for amount in (1, 5, 10)}
NO_TRUTH = np.full(120, None, dtype=object)
FEW = np.where(np.arange(120) < 116, "a", "b").astype(object)


def probed(judge: Judge, **shares: float) -> dict[tuple[str, int], Any]:
    return {
        (name, amount): judge.replicates([[right_share(TRUTH, share)]])
        for name, share in shares.items()
        for amount in DRAWS
    }


@pytest.mark.parametrize(("amounts", "expected"), [([1, 5, 10, 50], 5), ([4, 6], 4), ([10, 50], 10), ([1], 1)])
def test_the_amount_of_labels_is_declared(amounts: list[int], expected: int) -> None:
    assert declared.declared_amount(amounts) == expected


def test_probes_are_compared_with_pixels_first() -> None:
    judge = judge_of(TRUTH)
    scores = probed(judge, adapted=0.9, start=0.5, pixels=0.6, pretrained=0.8)
    probes = Probed(task(TRUTH), judge, DRAWS, scores)
    found = declared.self_taught(probes, [1, 5, 10])
    assert list(found.baselines) == ["pixels", "start", "constant"] and found.reason is None
    assert found.score is scores["pretrained", 5]
    assert (found.facts["labels_per_class"], found.facts["short"]) == (5, False)
    assert declared.self_taught(probes, [10]).facts["short"]


@pytest.mark.parametrize(
    ("primary", "values", "draws", "reason"),
    [
        (None, None, DRAWS, "no_primary"),
        (task(TRUTH), NO_TRUTH, DRAWS, "no_target_test_labels"),
        (task(TRUTH), TRUTH, {}, "no_target_train_labels"),
        (task(TRUTH), np.full(120, "a", dtype=object), DRAWS, "one_class"),
        (task(TRUTH), FEW, DRAWS, "too_few_images"),
        (task(TRUTH), NO_TRUTH, {}, "no_target_test_labels"),
    ],
)
def test_why_there_are_no_probes(primary: Task | None, values: Any, draws: Any, reason: str) -> None:
    judge = judge_of(TRUTH if values is None else values, learn_from="nothing")
    found = declared.self_taught(Probed(primary, judge, draws, {}) if primary else None, [5])
    assert (found.kind, found.reason, found.score) == ("self-taught", reason, None)


def multi_task(tasks: dict[str, Task], truths: dict[str, np.ndarray], **shares: float) -> list[Comparison]:
    judges = {name: judge_of(values, tasks[name].kind) for name, values in truths.items()}
    answers = {
        (model, name): values + (1 - share) if values.dtype == float else right_share(values, share)
        for model, share in shares.items()
        for name, values in truths.items()
    }
    ids = {name: IDS[judge.rows] for name, judge in judges.items()}
    return list(declared.multi_task(tasks, judges, predictions_of(answers, list(IDS)), ids))


def test_every_label_that_is_learnt_is_compared_with_a_model_of_its_own() -> None:
    tasks = {
        "kind": task(TRUTH, name="kind"),
        "size": task(NUMBERS, "regression", "size", "target"),
        "none": task(NO_TRUTH, name="none", learn_from="nothing"),
    }
    truths = {"kind": TRUTH, "size": NUMBERS}
    found = multi_task(tasks, truths, multi_task=0.9, single_task=0.6, scratch=0.1)
    assert [one.label for one in found] == ["kind", "size"]
    assert all(list(one.baselines) == ["single_task", "constant"] for one in found)
    assert [one.facts["domain"] for one in found] == ["source", "target"]
    assert [one.higher_is_better for one in found] == [True, False]
    assert all(one.gains()["single_task"].value > 0 for one in found)


def test_a_label_that_is_not_learnt_alone_is_compared_with_nothing() -> None:
    tasks = {name: task(TRUTH, name=name) for name in ("one", "two")}
    judges = {name: judge_of(TRUTH, tasks[name].kind) for name in tasks}
    answers = {(model, "one"): TRUTH for model in ("multi_task", "single_task")} | {("multi_task", "two"): TRUTH}
    ids = {name: IDS[judge.rows] for name, judge in judges.items()}
    found = list(declared.multi_task(tasks, judges, predictions_of(answers, list(IDS)), ids))
    assert [(one.label, one.reason) for one in found] == [("one", None), ("two", "not_alone")]


@pytest.mark.parametrize(("num", "reason", "label"), [(0, "not_learnt", None), (1, "one_label", "kind 0")])
def test_fewer_than_two_labels_have_nothing_to_share(num: int, reason: str, label: str | None) -> None:
    tasks = {
        f"kind {n}": task(TRUTH, name=f"kind {n}", learn_from="source" if n < num else "nothing") for n in range(3)
    }
    (found,) = multi_task(tasks, {name: TRUTH for name in tasks if tasks[name].learn_from == "source"}, multi_task=0.9)
    assert (found.reason, found.label) == (reason, label)


def test_a_label_that_cannot_be_scored_does_not_keep_the_other_from_it() -> None:
    tasks = {name: task(TRUTH, name=name) for name in ("one", "two")}
    found = multi_task(tasks, {"one": TRUTH, "two": FEW}, multi_task=0.9, single_task=0.6)
    assert [(one.label, one.reason) for one in found] == [("one", None), ("two", "too_few_images")]


def transductive(
    tasks: dict[str, Task], truths: dict[str, np.ndarray], use: str, models: list[str], chosen: str = ""
) -> list[Comparison]:
    judges = {name: judge_of(values, tasks[name].kind, learn_from="nothing") for name, values in truths.items()}
    answers = {
        (model, name): NUMBERS + n if tasks[name].kind == "regression" else right_share(TRUTH, 0.9 - n / 3)
        for n, model in enumerate(models)
        for name in tasks
    }
    choices = [{"chosen": chosen or use}]
    return list(declared.transductive(tasks, judges, predictions_of(answers, list(IDS)), IDS, use, choices))


def test_the_adapter_that_is_handed_on_is_compared_with_the_model_before_it() -> None:
    tasks = {
        "kind": task(TRUTH, name="kind"),
        "size": task(NUMBERS, "regression", "size"),
        "of target": task(TRUTH, name="of target", learn_from="target"),
    }
    truths = {"kind": TRUTH, "size": NUMBERS, "of target": TRUTH}
    found = transductive(tasks, truths, "mcc", ["mcc", "source_only", "adabn"])
    assert [(one.label, one.method, list(one.baselines)) for one in found] == [
        ("kind", "mcc", ["source_only", "constant"]),
        ("size", "mcc", ["source_only", "constant"]),
    ]
    assert all(one.gains()["source_only"].value > 0 for one in found)


def test_a_choice_is_compared_unless_it_is_the_model_before() -> None:
    given = ({"kind": task(TRUTH, name="kind")}, {"kind": TRUTH}, "auto", ["auto", "source_only"])
    (found,) = transductive(*given, chosen="mcc")
    assert found.method == "auto" and list(found.baselines) == ["source_only", "constant"]
    (found,) = transductive(*given, chosen="source_only")
    assert (found.reason, found.score) == ("not_adapted", None)


def test_a_class_that_the_source_does_not_have_is_counted() -> None:
    values = TRUTH.copy()
    values[:7] = "new"
    (found,) = transductive({"kind": task(TRUTH, name="kind")}, {"kind": values}, "mcc", ["mcc", "source_only"])
    assert found.facts["unknown"] == {"new": 7}


@pytest.mark.parametrize(
    ("tasks", "use", "models", "reasons"),
    [
        ({}, "mcc", [], [(None, "not_learnt_from_source")]),
        ({"kind": task(TRUTH, learn_from="target")}, "mcc", ["source_only"], [(None, "not_learnt_from_source")]),
        ({"kind": task(TRUTH, name="kind")}, "none", ["source_only", "mcc"], [("kind", "not_adapted")]),
        ({"kind": task(TRUTH, name="kind")}, "mcc", ["source_only"], [("kind", "not_adapted")]),
        ({"size": task(NUMBERS, "regression", "size")}, "mcc", ["source_only", "adabn"], [("size", "not_classes")]),
    ],
)
def test_why_nothing_was_adapted(tasks: dict[str, Task], use: str, models: list[str], reasons: list[Any]) -> None:
    truths = {name: NUMBERS if one.kind == "regression" else TRUTH for name, one in tasks.items()}
    found = transductive(tasks, truths, use, models)
    assert [(one.label, one.reason) for one in found] == reasons
    assert all(one.score is None for one in found)


def test_without_test_labels_it_is_said_how_much_changed() -> None:
    tasks = {"kind": task(TRUTH, name="kind")}
    (found,) = transductive(tasks, {"kind": NO_TRUTH}, "mcc", ["mcc", "source_only"])
    first, second = right_share(TRUTH, 0.9), right_share(TRUTH, 0.9 - 1 / 3)
    assert found.reason == "no_target_test_labels"
    assert found.facts["changed"] == pytest.approx((first != second).mean())


def clusters(**shares: float) -> dict[tuple[str, str, str], list[list[np.ndarray]]]:
    """Return clusterings of two trainings and two restarts each, which are right about so often."""
    return {
        (name, "umap", "kmeans"): [
            [np.unique(right_share(TRUTH, share, 2 * n + r), return_inverse=True)[1] for r in range(2)]
            for n in range(2)
        ]
        for name, share in shares.items()
    }


def test_clusterings_are_compared_by_a_score_that_one_cluster_has_none_of() -> None:
    judge = judge_of(TRUTH)
    found = declared.unsupervised(task(TRUTH), judge, clusters(pretrained=0.95, pixels=0.6, start=0.6, adapted=0.9))
    assert list(found.baselines) == ["pixels", "start", "constant"] and found.metric == "ari"
    assert found.baselines["constant"].values_SR.tolist() == [[0.0]]
    assert found.score is not None and found.score.values_SR.shape == (2, 2)
    assert all(gain.value > 0 and gain.p < 0.05 for gain in found.gains().values())


@pytest.mark.parametrize(
    ("primary", "values", "kind", "runs", "reason"),
    [
        (None, None, "multiclass", {}, "no_primary"),
        (task(NUMBERS, "regression"), NUMBERS, "regression", {"pretrained": 0.9}, "not_classes"),
        (task(TRUTH), NO_TRUTH, "multiclass", {"pretrained": 0.9}, "no_target_test_labels"),
        (task(TRUTH), np.full(120, "a", dtype=object), "multiclass", {"pretrained": 0.9}, "one_class"),
        (task(TRUTH), FEW, "multiclass", {"pretrained": 0.9}, "too_few_images"),
        (task(TRUTH), TRUTH, "multiclass", {}, "too_few_images"),
    ],
)
def test_why_clusterings_are_not_compared(primary: Any, values: Any, kind: str, runs: Any, reason: str) -> None:
    judge = None if values is None else judge_of(values, kind, learn_from="nothing")
    found = declared.unsupervised(primary, judge, clusters(**runs))
    assert (found.kind, found.reason, found.score) == ("unsupervised", reason, None)


@pytest.mark.parametrize(("learn_from", "domain"), [("source", "source"), ("target", "target"), ("both", "target")])
def test_a_label_is_held_out_where_it_is_learnt(learn_from: str, domain: str) -> None:
    assert declared.domain_of(task(TRUTH, learn_from=learn_from)) == domain
