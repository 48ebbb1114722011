from typing import Any

import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from sklearn.datasets import load_digits
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from pipeline_lib.audit.errors import MOST_FALSE, NEIGHBORS, judged, suspected_errors
from pipeline_lib.audit.plateau import plateau
from pipeline_lib.stats.components import pixel_components
from tests.pipeline_lib.audit.roles import squares


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    images, classes = load_digits(return_X_y=True)
    return images.astype(np.float32), classes.astype(str).astype(object)


def flipped(classes: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    given, names = classes.copy(), np.unique(classes.astype(str))
    rows = rng.permutation(len(given))[: round(share * len(given))]
    for row in rows:
        given[row] = rng.choice(names[names != given[row]])
    return given, rows


def mixed(share_wrong: float, num: int = 5000, steepness: float = 12.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw votes of ten neighbours, and labels that contradict them between classes or because they are wrong."""
    rng = np.random.default_rng(0)
    votes = rng.binomial(10, rng.beta(6, 1, num))
    chance = 1 / (1 + np.exp(steepness * (votes / 10 - 0.5)))
    return votes, rng.random(num) < share_wrong + (1 - share_wrong) * chance


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_the_share_of_wrong_labels_is_the_plateau(share: float) -> None:
    found = plateau(*mixed(share), 10)
    assert 0 < found.low < share and found.rate == pytest.approx(share, abs=0.025)
    right = (1 - share) / (1 + np.exp(12 * (np.arange(11) / 10 - 0.5)))
    assert found.false_by_votes[6:] == pytest.approx(right[6:] / (share + right[6:]), abs=0.15)


@pytest.mark.parametrize("steepness", [5.0, 8.0, 20.0])
def test_classes_that_look_alike_are_no_wrong_labels(steepness: float) -> None:
    assert plateau(*mixed(0.0, steepness=steepness), 10).low == 0


def test_nothing_contradicted_is_no_wrong_label() -> None:
    found = plateau(np.full(50, 10), np.zeros(50, bool), 10)
    assert found.rate == found.low == 0 and (found.false_by_votes == 1).all()


def test_the_doubtful_are_those_of_cleanlab(digits: tuple[np.ndarray, np.ndarray]) -> None:
    features, classes = digits
    given, _ = flipped(classes, 0.1, 0)
    keys = np.arange(len(given)).astype(str)
    rows, fold_of_N = judged(given, keys, 0)
    codes = np.unique(given[rows].astype(str), return_inverse=True)[1]
    model = KNeighborsClassifier(NEIGHBORS)
    probability = cross_val_predict(model, features[rows], codes, cv=PredefinedSplit(fold_of_N), method="predict_proba")
    expected = find_label_issues(codes, probability, n_jobs=1)
    found = suspected_errors(features, given, keys, 0)
    assert set(found.doubtful) == set(rows[np.flatnonzero(expected)])


@pytest.mark.parametrize(("share", "precision", "recall"), [(0.05, 0.80, 0.80), (0.1, 0.84, 0.85), (0.2, 0.88, 0.87)])
def test_flipped_digits_are_found_with_about_as_many_false_alarms_as_expected(
    digits: tuple[np.ndarray, np.ndarray], share: float, precision: float, recall: float
) -> None:
    features, classes = digits
    scores = []
    for seed in range(3):
        given, rows = flipped(classes, share, seed)
        found = suspected_errors(features, given, np.arange(len(given)).astype(str), 0)
        called = found.doubtful[: found.num_suspected]
        hits = np.isin(called, rows)
        scores.append((hits.mean(), np.isin(rows, called).mean(), found.rate, found.expected_false))
        assert found.expected_false is not None and found.expected_false <= MOST_FALSE
        assert np.mean([found.suggested[row] == classes[called[row]] for row in np.flatnonzero(hits)]) > 0.9
    right, caught, rate, false = np.mean(scores, axis=0)
    assert right >= precision and caught >= recall
    assert rate == pytest.approx(share, abs=0.03) and false == pytest.approx(1 - right, abs=0.25)


def test_clean_digits_are_called_right_and_it_is_known_what_would_be_noticed(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    features, classes = digits
    found = suspected_errors(features, classes, np.arange(len(classes)).astype(str), 0)
    assert found.num_suspected == 0 and found.low == 0 and found.expected_false is None
    assert found.noticed_from is not None and found.recall is not None and found.recall > 0.7


def test_labels_that_pixels_do_not_show_are_not_called_wrong() -> None:
    rng = np.random.default_rng(0)
    given = rng.choice(["a", "b", "c"], 1000).astype(object)
    found = suspected_errors(rng.normal(size=(1000, 5)).astype(np.float32), given, np.arange(1000).astype(str), 0)
    assert found.num_suspected == 0 and found.low == 0 and len(found.doubtful) > 100
    assert found.noticed_from is None and found.recall is None


def test_flipped_labels_are_suspected_and_corrected() -> None:
    images, places = squares(300)
    given = np.array(places, dtype=object)
    rows = np.arange(0, 300, 10)
    given[rows] = ["at 0" if name != "at 0" else "at 1" for name in given[rows]]
    (features,) = pixel_components([images[..., None]], 0)
    found = suspected_errors(features, given, np.arange(len(given)), 0)
    called = found.doubtful[: found.num_suspected]
    assert not set(called) - set(rows) and len(called) >= 0.6 * len(rows)
    assert [str(name) for name in found.suggested[: len(called)]] == [places[row] for row in called]
    assert len(found.judged) == 300


def test_nulls_and_rare_classes_are_not_judged() -> None:
    images, places = squares(100)
    given = np.array(places, dtype=object)
    given[:10], given[10], given[11:15] = None, "alone", float("nan")
    (features,) = pixel_components([images[..., None]], 0)
    found = suspected_errors(features, given, np.arange(len(given)), 0)
    assert set(found.judged) == set(range(15, 100)) and not set(found.doubtful) - set(found.judged)


@pytest.mark.parametrize("given", [[None] * 20, ["a"] * 20, ["a"] * 16 + ["b"] * 4, [str(i) for i in range(20)]])
def test_labels_that_cannot_be_judged_are_not_suspected(given: list[Any]) -> None:
    found = suspected_errors(
        np.random.default_rng(0).normal(size=(20, 3)), np.array(given, dtype=object), np.arange(20), 0
    )
    assert (len(found.judged), len(found.doubtful), found.num_suspected, found.rate) == (0, 0, 0, None)


def test_labels_that_a_group_shares_are_not_judged_by_the_group() -> None:
    """Neighbours of an image's own group confirm any label that was given to all of it."""
    images, places = squares(200)
    groups = np.arange(200) // 4
    images = images[groups * 4] + np.random.default_rng(0).integers(0, 3, images.shape, np.uint8)
    given = np.array(places, dtype=object)[groups * 4]
    wrong = np.isin(groups, [3, 17, 30])
    given[wrong] = ["at 0" if name != "at 0" else "at 1" for name in given[wrong]]
    (features,) = pixel_components([images[..., None]], 0)
    caught = [
        wrong[suspected_errors(features, given, keys, 0).doubtful].sum()
        for keys in (groups.astype(str), np.arange(200))
    ]
    assert caught[0] > 0 and caught[1] == 0


def test_many_images_and_classes_are_looked_at_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_lib.audit.errors.MOST_IMAGES", 100)
    monkeypatch.setattr("pipeline_lib.audit.errors.MOST_CLASSES", 2)
    images, places = squares(300)
    (features,) = pixel_components([images[..., None]], 0)
    found = suspected_errors(features, np.array(places, dtype=object), np.arange(300), 0)
    assert 50 < len(found.judged) < 100
    assert len({places[row] for row in found.judged}) == 2
