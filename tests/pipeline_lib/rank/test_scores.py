"""Every score beside its oracle."""

import math

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import BayesianRidge, LogisticRegression
from sklearn.metrics import balanced_accuracy_score, mutual_info_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from pipeline_lib.evaluate.probes import probe_features
from pipeline_lib.rank import DISTANCES, SCORES, Domain, Examples
from pipeline_lib.rank.held_out import FOLDS
from pipeline_lib.stats.folds import folds_of
from pipeline_lib.stats.shift import domain_classifier, mmd

# Fewer features than images, more than them, and far more than a class has images.
SHAPES = [(150, 8), (60, 90), (40, 300)]
CLASSES = 3


def examples(num: int, dims: int, gap: float = 1.5, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    classes = np.arange(num) % CLASSES
    features = 0.5 + rng.normal(size=(num, dims)) + gap * np.eye(dims)[classes]
    # Keys of two images, so that folds have to keep them together.
    return Examples(features, np.array([str(row // 2) for row in range(num)]), classes)


def domain(num: int, dims: int, mean: float = 0.0, seed: int = 0) -> Domain:
    features = mean + np.random.default_rng(seed).normal(size=(num, dims))
    return Domain(features, np.arange(num).astype(str))


@pytest.mark.parametrize(("num", "dims"), SHAPES)
def test_logme_is_the_evidence_of_bayesian_ridge(num: int, dims: int) -> None:
    given = examples(num, dims)
    # No priors on the precisions, which makes the evidence theirs alone.
    flat = dict.fromkeys(("alpha_1", "alpha_2", "lambda_1", "lambda_2"), 0)
    model = BayesianRidge(fit_intercept=False, compute_score=True, tol=1e-9, max_iter=3000, **flat)
    expected = [
        model.fit(given.features_ND, (given.classes_N == each).astype(float)).scores_[-1] / num
        for each in range(CLASSES)
    ]
    assert SCORES["logme"](given, 0) == pytest.approx(np.mean(expected), abs=1e-5)


@pytest.mark.parametrize(("num", "dims"), SHAPES)
def test_h_score_is_the_regularised_trace(num: int, dims: int) -> None:
    given = examples(num, dims)
    shrunk = LedoitWolf().fit(given.features_ND)
    means = np.stack([given.features_ND[given.classes_N == each].mean(axis=0) for each in range(CLASSES)])
    between = np.cov(means[given.classes_N], rowvar=False, bias=True)
    expected = (1 - shrunk.shrinkage_) * np.trace(np.linalg.solve(shrunk.covariance_, between))
    assert SCORES["h_score"](given, 0) == pytest.approx(expected)
    assert 0 < expected < CLASSES - 1


def test_leep_of_certain_predictions_is_minus_the_conditional_entropy() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 200)
    source = np.where(rng.random(200) < 0.6, classes, rng.integers(0, 6, 200))
    given = Examples(rng.normal(size=(200, 3)), np.arange(200).astype(str), classes, np.eye(6)[source])
    shares = np.bincount(classes) / 200
    entropy = -(shares * np.log(shares)).sum()
    assert SCORES["leep"](given, 0) == pytest.approx(mutual_info_score(classes, source) - entropy)


def test_leep_is_its_formula_and_nothing_without_a_classifier() -> None:
    rng = np.random.default_rng(1)
    theta, classes = rng.dirichlet(np.ones(5), 60), rng.integers(0, 3, 60)
    total = 0.0
    for image, label in enumerate(classes):
        likely = 0.0
        for z in range(5):
            joint = theta[classes == label, z].sum() / 60
            likely += joint / (theta[:, z].sum() / 60) * theta[image, z]
        total += math.log(likely)
    given = Examples(rng.normal(size=(60, 2)), np.arange(60).astype(str), classes, theta)
    assert SCORES["leep"](given, 0) == pytest.approx(total / 60)
    assert math.isnan(SCORES["leep"](examples(30, 4), 0))


@pytest.mark.parametrize(("num", "dims"), SHAPES)
@pytest.mark.parametrize("score", ["knn", "linear_probe"])
def test_accuracies_are_those_of_scikit_learn_on_the_same_folds(score: str, num: int, dims: int) -> None:
    given = examples(num, dims)
    folds = PredefinedSplit(folds_of(given.classes_N, given.keys_N, 3, FOLDS))
    if score == "knn":
        model, features = KNeighborsClassifier(5, metric="cosine", algorithm="brute"), given.features_ND
    else:
        model, features = LogisticRegression(max_iter=1000), probe_features(given.features_ND, np.arange(num))
    answers = cross_val_predict(model, features, given.classes_N, cv=folds)
    assert SCORES[score](given, 3) == pytest.approx(balanced_accuracy_score(given.classes_N, answers))


def test_images_of_one_key_never_answer_for_each_other() -> None:
    rng = np.random.default_rng(0)
    once, classes = rng.normal(size=(60, 200)), rng.integers(0, 2, 60)
    twice = Examples(np.repeat(once, 4, axis=0), np.repeat(np.arange(60), 4).astype(str), np.repeat(classes, 4))
    apart = Examples(twice.features_ND, np.arange(240).astype(str), twice.classes_N)
    assert SCORES["knn"](twice, 0) < 0.7 < SCORES["knn"](apart, 0)


def test_a_class_in_one_fold_alone_is_not_judged() -> None:
    given = examples(60, 8, gap=20)
    rare = Examples(given.features_ND, given.keys_N, np.where(np.arange(60) < 2, 9, given.classes_N))
    assert SCORES["linear_probe"](rare, 0) == 1
    nothing = Examples(given.features_ND, np.full(60, "one"), given.classes_N)
    assert math.isnan(SCORES["linear_probe"](nothing, 0))


@pytest.mark.parametrize("score", ["logme", "h_score", "knn", "linear_probe"])
def test_shuffled_labels_give_chance(score: str) -> None:
    given = examples(300, 10, gap=4)
    keys = np.arange(300).astype(str)
    mixed = [np.random.default_rng(seed).permutation(given.classes_N) for seed in range(5)]
    found = [SCORES[score](Examples(given.features_ND, keys, classes), 0) for classes in mixed]
    assert max(found) < SCORES[score](given, 0)
    if score in ("knn", "linear_probe"):
        assert np.mean(found) == pytest.approx(1 / CLASSES, abs=0.05)


@pytest.mark.parametrize("score", ["logme", "h_score", "knn", "linear_probe"])
def test_features_that_say_nothing_are_no_error(score: str) -> None:
    flat = Examples(np.ones((40, 5)), np.arange(40).astype(str), np.arange(40) % 2)
    assert math.isfinite(SCORES[score](flat, 0))
    blank = Examples(np.zeros((40, 5)), np.arange(40).astype(str), np.arange(40) % 2)
    assert math.isfinite(SCORES[score](blank, 0))


def test_distances_are_their_oracles() -> None:
    one, other = domain(50, 6), domain(50, 6, 0.7, seed=1)
    found = {name: distance(one, other, 0) for name, distance in DISTANCES.items()}
    keys = (one.keys_N, other.keys_N)
    assert found["mmd2"] == pytest.approx(mmd(one.features_ND, other.features_ND, 50, 0)["mmd2"])
    assert (
        found["proxy_a_distance"]
        == (domain_classifier(one.features_ND, other.features_ND, 0, keys)["proxy_a_distance"])
    )
    gaussians = [(each.features_ND.mean(axis=0), np.cov(each.features_ND, rowvar=False)) for each in (one, other)]
    (mean, covariance), (mean_2, covariance_2) = gaussians
    bures = ot.gaussian.bures_wasserstein_distance(mean, mean_2, covariance, covariance_2)
    assert found["frechet_distance"] == pytest.approx(float(bures) ** 2)
    # With as many images in both, the best plan is the best assignment.
    costs = cdist(one.features_ND, other.features_ND, "sqeuclidean")
    assert found["transport"] == pytest.approx(costs[linear_sum_assignment(costs)].mean())


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_a_nearer_dataset_is_nearer(name: str) -> None:
    target = domain(150, 5)
    near, far, away = (DISTANCES[name](domain(200, 5, gap, seed=1), target, 0) for gap in (0.0, 0.4, 0.8))
    assert near < far < away
