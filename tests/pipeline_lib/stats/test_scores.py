from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, silhouette_score

from pipeline_lib.stats.scores import NOISE, agreement, matched, mean, silhouette


def objects(*values):
    return np.array(values, dtype=object)


def best_by_trying(clusters, truth):
    """Try every way to name the clusters; names beyond the classes stand for nothing."""
    classes = [*np.unique(truth), *(f"nothing {index}" for index in range(len(np.unique(clusters))))]
    found = np.unique(clusters)
    return max(
        np.mean([dict(zip(found, names, strict=True))[c] == t for c, t in zip(clusters, truth, strict=True)])
        for names in permutations(classes, len(found))
    )


@pytest.mark.parametrize(("num_clusters", "num_classes"), [(3, 3), (2, 4), (4, 2)])
def test_matching_is_the_best_of_all_namings(num_clusters, num_classes):
    rng = np.random.default_rng(num_clusters)
    clusters = rng.integers(num_clusters, size=40)
    truth = rng.integers(num_classes, size=40).astype(str).astype(object)
    assert matched(clusters, truth).mean() == pytest.approx(best_by_trying(clusters, truth))


def test_noise_is_wrong_and_not_labelled_is_left_out():
    clusters = np.array([0, 0, 1, 1, NOISE, NOISE, 0, 5])
    truth = objects("a", "a", "b", "b", "a", "c", None, float("nan"))
    np.testing.assert_array_equal(matched(clusters, truth), [1, 1, 1, 1, 0, 0, np.nan, np.nan])


def test_noise_never_stands_for_a_class():
    assert matched(np.full(5, NOISE), objects(*"aabbb")).tolist() == [0] * 5


def test_without_labels_there_is_no_score():
    truth = objects(None, None, None)
    assert np.isnan(matched(np.array([0, 1, 1]), truth)).all()
    assert mean(matched(np.array([0, 1, 1]), truth)) is None
    assert agreement(np.array([0, 1, 1]), truth) == {"ari": None, "ami": None}


def test_agreement_does_not_depend_on_names_and_counts_noise_as_one_cluster():
    truth = objects(*"aaabbb")
    assert agreement(np.array([7, 7, 7, 2, 2, 2]), truth) == pytest.approx({"ami": 1, "ari": 1})
    assert agreement(np.array([7, 7, 7, NOISE, NOISE, NOISE]), truth) == pytest.approx({"ami": 1, "ari": 1})
    assert agreement(np.zeros(6, dtype=np.int64), truth) == pytest.approx({"ami": 0, "ari": 0})


def test_agreement_is_that_of_scikit_learn_on_what_is_labelled():
    rng = np.random.default_rng(0)
    clusters, truth = rng.integers(4, size=60), objects(*rng.choice(list("abc"), 60))
    truth[:10] = None
    known = truth[10:].astype(str)
    assert agreement(clusters, truth) == pytest.approx(
        {
            "ari": adjusted_rand_score(known, clusters[10:]),
            "ami": adjusted_mutual_info_score(known, clusters[10:]),
        }
    )


def test_silhouette_is_that_of_the_points_in_clusters():
    rng = np.random.default_rng(0)
    x, clusters = rng.normal(size=(30, 3)), np.repeat([0, 1, NOISE], 10)
    assert silhouette(x, clusters, seed=0) == pytest.approx(silhouette_score(x[:20], clusters[:20]))


@pytest.mark.parametrize("clusters", [[0, 0, 0], [NOISE, NOISE, NOISE], [0, 1, 2], [0, NOISE, NOISE]])
def test_silhouette_of_nothing_to_compare(clusters):
    assert silhouette(np.eye(3), np.array(clusters), seed=0) is None


def test_a_large_set_is_sampled_for_the_silhouette(monkeypatch):
    rng = np.random.default_rng(0)
    clusters = rng.integers(2, size=600)
    x = clusters[:, None] * 3 + rng.normal(size=(600, 2))
    whole = silhouette(x, clusters, seed=0)
    monkeypatch.setattr("pipeline_lib.stats.scores.MAX_SILHOUETTE", 300)
    assert silhouette(x, clusters, seed=0) == pytest.approx(whole, abs=0.05)
