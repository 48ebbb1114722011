import numpy as np
import pytest
import torch

from pipeline_lib.stats.calibration import calibration_error, reliability


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
