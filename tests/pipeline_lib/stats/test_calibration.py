import numpy as np
import pytest
import torch

from pipeline_lib.stats.calibration import auroc, calibration_error, reliability


def sure_and_right(num: int = 20000, optimism: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1.0, num)
    return confidence, rng.random(num) < confidence - optimism


@pytest.mark.parametrize("optimism", [0.0, 0.1])
def test_the_error_is_torchmetrics(optimism: float) -> None:
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    confidence, right = sure_and_right(optimism=optimism)
    # Of a binary label each confidence is the probability of a class that is there or not.
    expected = metrics.binary_calibration_error(
        torch.from_numpy(confidence), torch.from_numpy(right).long(), n_bins=15, norm="l1"
    )
    assert calibration_error(confidence, right) == pytest.approx(float(expected), abs=1e-4)
    assert calibration_error(confidence, right) == pytest.approx(optimism, abs=0.025)


def test_bins_hold_every_image_once() -> None:
    confidence, right = sure_and_right()
    bins = reliability(confidence, right, 10)
    assert bins[:, 2].sum() == len(confidence) and len(bins) == 8  # none is less sure than 0.2
    assert (np.diff(bins[:, 0]) > 0).all() and (bins[:, :2] >= 0).all() and (bins[:, :2] <= 1).all()
    assert np.average(bins[:, 1], weights=bins[:, 2]) == pytest.approx(right.mean())


def test_the_ends_are_in_a_bin() -> None:
    np.testing.assert_array_equal(reliability(np.array([0.0, 1.0]), np.array([False, True]), 4), [[0, 0, 1], [1, 1, 1]])


def test_the_area_under_the_curve_is_that_of_the_probabilities() -> None:
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    rng = np.random.default_rng(0)
    probability = rng.random(300)
    truth = rng.random(300) < 0.3 + 0.4 * probability
    names = np.array(["absent", "present"], dtype=object)
    answers, confidence = names[(probability > 0.5).astype(int)], np.maximum(probability, 1 - probability)
    expected = metrics.binary_auroc(torch.from_numpy(probability), torch.from_numpy(truth))
    assert auroc(answers, confidence, names[truth.astype(int)]) == pytest.approx(float(expected))
    swapped = names[::-1]
    answers = swapped[(probability > 0.5).astype(int)]
    assert auroc(answers, confidence, swapped[truth.astype(int)]) == pytest.approx(float(expected))
    assert auroc(answers, confidence, np.full(300, "present", dtype=object)) is None
