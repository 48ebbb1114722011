"""Temperatures and the calibration error, against a grid, a formula and torchmetrics."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline_lib.heads.calibration import calibration_error, temperature


def overconfident(factor: float, num: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Return outputs that are ``factor`` times too large, and classes drawn by what they should have been."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(num, 5, generator=generator) * 2
    truth = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
    return factor * logits, truth


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_the_temperature_takes_back_what_outputs_exaggerate(factor: float) -> None:
    outputs, truth = overconfident(factor)
    found = temperature(outputs, truth)
    assert found == pytest.approx(factor, rel=0.1)
    tried = np.geomspace(0.1, 10, 400)
    losses = [float(F.cross_entropy(outputs / one, truth)) for one in tried]
    assert float(F.cross_entropy(outputs / found, truth)) <= min(losses) + 1e-6


def test_without_images_outputs_stay_as_they_are() -> None:
    assert temperature(torch.empty(0, 3), torch.empty(0, dtype=torch.int64)) == 1.0


def test_answers_that_are_all_right_do_not_freeze_the_temperature() -> None:
    outputs = 10 * F.one_hot(torch.arange(6) % 3).float()
    assert 0.04 < temperature(outputs, torch.arange(6) % 3) < 1


@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_the_calibration_error_is_that_of_its_definition(factor: float) -> None:
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    outputs, truth = overconfident(factor)
    probabilities = outputs.softmax(dim=1)
    expected = metrics.multiclass_calibration_error(probabilities, truth, 5, n_bins=10, norm="l1")
    assert calibration_error(probabilities, truth) == pytest.approx(float(expected), abs=1e-4)
    cooled = (outputs / temperature(outputs, truth)).softmax(dim=1)
    assert calibration_error(cooled, truth) < 0.02


def test_certainty_that_is_right_has_no_error_and_one_that_is_wrong_has_all() -> None:
    certain = F.one_hot(torch.arange(3)).float()
    assert calibration_error(certain, torch.arange(3)) == 0
    assert calibration_error(certain, (torch.arange(3) + 1) % 3) == 1
