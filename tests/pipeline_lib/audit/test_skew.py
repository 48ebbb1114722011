"""Labels that go together, frequencies in the target, and what grouped images are worth."""

import numpy as np
import pytest
from scipy.stats.contingency import association as uncorrected

from pipeline_lib.audit.findings.skew import by_dataset as said_by_dataset
from pipeline_lib.audit.findings.skew import pairs as said_pairs
from pipeline_lib.audit.findings.skew import priors as said_priors
from pipeline_lib.audit.joint import association, by_dataset, pairs
from pipeline_lib.audit.prior import estimated_prior
from pipeline_lib.audit.sampling import groups
from pipeline_lib.data.roles import Role
from pipeline_lib.stats.label_shift import confusion_prior
from tests.pipeline_lib.audit.roles import role


def blank(num: int) -> np.ndarray:
    return np.zeros((num, 4, 4), np.uint8)


def two_labels(name: str, agreement: float, seed: int, num: int = 600) -> Role:
    rng = np.random.default_rng(seed)
    colour = rng.choice(["red", "blue"], num)
    same = rng.random(num) < agreement
    shape = np.where(same == (colour == "red"), "round", "square")
    return role(name, {name: blank(num)}, {"colour": list(colour), "shape": list(shape)})


def test_association_is_that_of_cramer_where_there_are_many_images() -> None:
    table = np.array([[40, 10, 5], [3, 50, 20]])
    assert association(table * 10_000) == pytest.approx(uncorrected(table, method="cramer"), abs=1e-3)
    assert association(np.diag([5000, 3000, 2000])) == pytest.approx(1)
    assert association(table) < uncorrected(table, method="cramer")
    assert association(np.array([[3, 4, 0], [0, 0, 0]])) != association(np.array([[3, 4, 0], [0, 0, 0]]))  # NaN


def test_association_of_unrelated_labels_has_no_bias() -> None:
    rng = np.random.default_rng(0)
    found = [association(np.histogram2d(*rng.random((2, 60)), bins=8)[0]) for _ in range(50)]
    biased = [uncorrected(rng.integers(1, 3, (8, 8)), method="cramer") for _ in range(50)]
    assert np.mean(found) < 0.1 < np.mean(biased)


def test_labels_that_go_together_otherwise_in_the_target_are_found() -> None:
    (pair,) = pairs(two_labels("source", 0.95, 0), two_labels("target", 0.5, 1), ["colour", "shape"], 0)
    assert pair["source"] > 0.8 and pair["target"] < 0.2 and pair["p_value"] < 0.01
    (said,) = said_pairs([pair])
    assert said["level"] == "warning" and "'colour' and 'shape' go together otherwise" in said["sentence"]


def test_labels_that_go_together_alike_are_a_remark_and_no_more() -> None:
    (pair,) = pairs(two_labels("source", 0.95, 0), two_labels("target", 0.95, 1), ["colour", "shape"], 0)
    assert pair["p_value"] > 0.01
    assert [one["level"] for one in said_pairs([pair])] == ["info"]
    unlabelled = role("target", {"t": blank(60)}, {"colour": [None] * 60, "shape": ["round"] * 60})
    (pair,) = pairs(two_labels("source", 0.5, 0), unlabelled, ["colour", "shape"], 0)
    assert pair["target"] is None and pair["p_value"] is None and not list(said_pairs([pair]))


def test_a_class_that_one_dataset_has_alone_is_found_if_chance_does_not_explain_it() -> None:
    kinds = ["cat"] * 30 + ["dog"] * 30 + ["cat"] * 55 + ["emu"] * 4 + [None]
    source = role("source", {"a": blank(60), "b": blank(60)}, {"kind": kinds})
    found = by_dataset(source, "kind")
    assert found is not None and found["only_in"] == [{"class": "dog", "dataset": "a", "count": 30}]
    assert 0.4 < found["association"] < 0.8
    (said,) = said_by_dataset("source", {"kind": found})
    assert said["level"] == "warning" and "'dog' in 'a'" in said["sentence"]
    assert by_dataset(role("source", {"a": blank(3)}, {"kind": ["x", "y", "x"]}), "kind") is None


def test_the_prior_by_a_confusion_matrix_is_the_direct_formula() -> None:
    rng = np.random.default_rng(0)
    classes, wrong = rng.integers(0, 3, 5000), rng.random(5000) < 0.3
    answered = np.where(wrong, rng.integers(0, 3, 5000), classes)
    target = rng.choice(3, 4000, p=[0.7, 0.2, 0.1])
    said = np.where(rng.random(4000) < 0.3, rng.integers(0, 3, 4000), target)
    prior, condition = confusion_prior(answered, classes, said, 3)
    joint = np.array([[np.mean((answered == i) & (classes == j)) for j in range(3)] for i in range(3)])
    weights = np.linalg.inv(joint) @ (np.bincount(said, minlength=3) / 4000)
    assert prior == pytest.approx(weights * np.bincount(classes) / 5000)
    assert prior == pytest.approx([0.7, 0.2, 0.1], abs=0.03) and condition == pytest.approx(np.linalg.cond(joint))


def test_a_prior_that_answers_do_not_tell_is_nan() -> None:
    prior, condition = confusion_prior(np.zeros(10, int), np.arange(10) % 2, np.zeros(10, int), 2)
    assert np.isnan(prior).all() and np.isinf(condition)


def clusters(shares: list[float], num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = rng.choice(len(shares), num, p=shares)
    return (rng.normal(size=(num, 4)) + 2.5 * np.eye(4)[classes]).astype(np.float32), classes.astype(str).astype(object)


def test_frequencies_in_the_target_are_seen_without_its_labels() -> None:
    source, given = clusters([0.25] * 4, 1500, 0)
    target, truth = clusters([0.55, 0.25, 0.1, 0.1], 1200, 1)
    keys = np.arange(1500).astype(str)
    found = estimated_prior(source, given, keys, target, 0.7, 0)
    assert found is not None and found["reason"] is None
    assert found["target"] == pytest.approx([np.mean(truth == str(one)) for one in range(4)], abs=0.05)
    (said,) = said_priors({"kind": found})
    assert said["level"] == "info" and "of '0' (source: 2" in said["sentence"]


def test_frequencies_are_not_claimed_where_more_differs_or_classes_are_confused() -> None:
    source, given = clusters([0.25] * 4, 600, 0)
    keys = np.arange(600).astype(str)
    far = estimated_prior(source, given, keys, source, 0.95, 0)
    noise = np.random.default_rng(0).normal(size=(600, 4)).astype(np.float32)
    confused = estimated_prior(noise, given, keys, noise, 0.5, 0)
    same = estimated_prior(source, given, keys, clusters([0.25] * 4, 600, 1)[0], 0.5, 0)
    assert far is not None and far["reason"] == "shift" and confused is not None and confused["reason"] == "condition"
    assert not list(said_priors({"a": far, "b": confused, "c": same, "d": None}))
    assert estimated_prior(source, np.full(600, "one", object), keys, source, 0.5, 0) is None


def test_grouped_images_are_worth_as_many_as_the_design_effect_leaves() -> None:
    rng = np.random.default_rng(0)
    keys = np.repeat(np.arange(100), 5).astype(str)
    centres = rng.normal(size=(100, 6))[np.repeat(np.arange(100), 5)]
    noise = rng.normal(size=(500, 6))
    half = groups(centres + noise, keys)
    assert half["correlation"] == pytest.approx(0.5, abs=0.06) and half["effective"] == pytest.approx(500 / 3, rel=0.1)
    assert groups(centres, keys)["effective"] == 100
    assert groups(noise, keys)["effective"] == pytest.approx(500, rel=0.15)
    alone = groups(noise, np.arange(500).astype(str))
    assert alone == {"num_groups": 500, "largest": 1, "correlation": None, "effective": 500}
    assert groups(noise[:1], np.array(["a"]))["effective"] == 1
