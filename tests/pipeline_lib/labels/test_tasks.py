from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.labels.tasks import APPLIES, LabelSetting, Task, cell, explain, resolve_tasks, table

# Values of the training images and of the test images.
Split = tuple[Sequence[Any], Sequence[Any]]
NOTHING: Split = ([None] * 3, [None] * 2)
AB: Split = (["a", "b", None], ["b", None])
A: Split = (["a", "a", None], ["a", "b"])


@dataclass
class Role:
    values: Mapping[str, Split]

    @property
    def labels(self) -> list[str]:
        return list(self.values)

    def label(self, name: str) -> np.ndarray:
        train, test = self.values[name]
        # Test images come first, so that rows must be looked up.
        return np.array([*test, *train], dtype=object)

    def rows(self, split: str) -> np.ndarray:
        train, test = next(iter(self.values.values()))
        return np.arange(len(test)) if split == "test" else np.arange(len(test), len(test) + len(train))


def resolve(source: Split, target: Split, kind: str = "multiclass", **settings: Any) -> Task:
    tasks = resolve_tasks(Role({"x": source}), Role({"x": target}), {"x": LabelSetting(kind, **settings)})
    assert list(tasks) == ["x"]
    return tasks["x"]


FROM_SOURCE = "'x' is learnt from the source's 2 labelled training images"
FROM_TARGET = "'x' is learnt from the target's 2 labelled training images"
SCORED = " and scored on 1 labelled test image of the target"
ONE_CLASS = (
    "'x' is not learnt: it has one class only, 'a'; correct or add labels of the source's training images to carry it "
    "over, or of the target's to learn it there."
)
NAMES = np.array([f"image {row}" for row in range(1000)], dtype=object)
LABEL_SOME = ": label some {} images of the source to carry it over, or of the target to learn it there."
NOWHERE = "'x' is labelled nowhere, so nothing is learnt of it" + LABEL_SOME.replace("{} ", "")
TEST_ONLY = "'x' is not learnt, as all of its 2 labelled images are test images, which only score"


@pytest.mark.parametrize(
    ("source", "target", "learn_from", "where", "sentence"),
    [
        (AB, AB, "source", "multi-task and transductive", f"{FROM_SOURCE}{SCORED}."),
        (
            NOTHING,
            AB,
            "target",
            "inductive",
            f"{FROM_TARGET}{SCORED}; to carry it over, label some training images of the source.",
        ),
        (
            AB,
            NOTHING,
            "source",
            "transductive",
            FROM_SOURCE
            + "; on the target only scores without labels apply until some of its test images are labelled.",
        ),
        (NOTHING, NOTHING, "nothing", "unsupervised", NOWHERE),
        (
            AB,
            (["a", None, None], [None, None]),
            "source",
            "transductive",
            f"{FROM_SOURCE}; to score it, label some of the target's test images too.",
        ),
        (
            A,
            AB,
            "target",
            "inductive",
            f"{FROM_TARGET}{SCORED}; the source is left out, as there it has one class only, 'a'.",
        ),
        (A, NOTHING, "nothing", "unsupervised", ONE_CLASS),
        (NOTHING, A, "nothing", "unsupervised", ONE_CLASS),
        (NOTHING, ([None] * 3, ["a", "b"]), "nothing", "unsupervised", TEST_ONLY + LABEL_SOME.format("training")),
    ],
)
def test_what_applies_follows_from_what_is_labelled(
    source: Split, target: Split, learn_from: str, where: str, sentence: str
) -> None:
    task = resolve(source, target)
    assert (task.learn_from, cell(task), explain(task)) == (learn_from, where, sentence)
    assert (task.problem is None) == (learn_from != "nothing") == bool(task.spec)
    assert cell(task) in APPLIES


def test_the_spec_is_that_of_the_images_it_is_learnt_from() -> None:
    source, target = (["b", "a", None], ["rare", "c"]), (["d", "e", "a"], ["f", None])
    expected = {None: ["a", "b"], "source": ["a", "b"], "target": ["a", "d", "e"], "both": ["a", "b", "d", "e"]}
    for learn_from, classes in expected.items():
        task = resolve(source, target, learn_from=learn_from)
        assert task.learn_from == (learn_from or "source")
        assert task.spec == {"kind": "multiclass", "classes": classes}
    assert task.counts == {"source_train": 2, "source_test": 2, "target_train": 3, "target_test": 1}


def test_learning_from_both_says_so() -> None:
    task = resolve(AB, AB, learn_from="both")
    assert cell(task) == "multi-task and transductive"
    assert explain(task).startswith("'x' is learnt from the source's 2 and the target's 2 labelled training images and")
    assert resolve(A, (["b", None, None], [None, None]), learn_from="both").spec["classes"] == ["a", "b"]


def test_learning_from_the_target_by_choice_says_so() -> None:
    assert explain(resolve(AB, AB, learn_from="target")).endswith("the source is left out, as learn_from is target.")


@pytest.mark.parametrize(
    ("source", "target", "learn_from", "without"),
    [
        (NOTHING, AB, "source", "source"),
        (AB, NOTHING, "target", "target"),
        (AB, NOTHING, "both", "target"),
        (([None] * 3, ["a", "b"]), AB, "both", "source"),
    ],
)
def test_learning_from_where_no_label_is_is_refused(
    source: Split, target: Split, learn_from: str, without: str
) -> None:
    with pytest.raises(UserError, match=f"'x' is to be learnt from {learn_from}, but the {without} has no training"):
        resolve(source, target, learn_from=learn_from)


def test_learning_from_where_one_class_is_learns_nothing() -> None:
    task = resolve(A, AB, learn_from="source")
    assert (task.learn_from, task.problem) == ("nothing", "it has one class only, 'a'")


def test_an_order_may_be_of_numbers() -> None:
    task = resolve((["2", "10", None], [None, None]), NOTHING, "ordinal", order=(10, 2))
    assert task.spec == {"kind": "ordinal", "classes": ["10", "2"], "order": ["10", "2"]}


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match=r"the kind of the label 'x' is 'ordinary'.*did you mean 'ordinal'"):
        resolve(AB, AB, "ordinary")


def test_numbers_are_described_though_the_other_role_has_none() -> None:
    task = resolve(([None] * 3, [None] * 2), ([1.0, 3.0, np.nan], [2.0, 2.0]), "regression")
    assert (task.learn_from, task.spec) == ("target", {"kind": "regression", "mean": 2.0, "std": 1.0})


def test_the_table_is_aligned() -> None:
    values = {"a label": AB, "n" * 300: AB}
    settings = {name: LabelSetting("multiclass") for name in values}
    lines = table(resolve_tasks(Role(values), Role(dict.fromkeys(values, NOTHING)), settings))
    assert len(lines) == 3
    assert len({line.index(word) for line, word in zip(lines, ("what", "trans", "trans"), strict=True)}) == 1
    assert lines[1].split() == ["a", "label", "multiclass", "2/1", "0/0", "source", *APPLIES["transductive"].split()]
    assert table({}) == ["No label is named: unsupervised: structure only."]


@pytest.mark.parametrize("kind", ["multiclass", "ordinal"])
def test_a_value_of_its_own_for_each_of_many_images_is_no_class(kind: str) -> None:
    task = resolve((NAMES, ["image 0"]), NOTHING, kind)
    assert task.problem == "each of its 1,000 images has a value of its own, as if it were an identifier"
    assert task.learn_from == "nothing"
    twice = np.append(NAMES, "image 0").astype(object)
    assert (
        resolve((twice, ["image 0"]), AB, kind).learn_from
        == resolve((NAMES[:999], ["image 0"]), AB, kind).learn_from
        == "source"
    )
