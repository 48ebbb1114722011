"""What classes count, against the formula of the paper, and what it makes of the losses."""

import numpy as np
import pytest
import torch

from pipeline_lib.labels import KINDS
from pipeline_lib.labels.balance import class_weights
from pipeline_lib.labels.kind import MISSING

CLASSES = torch.tensor([0] * 900 + [1] * 90 + [2] * 10 + [MISSING] * 50)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999])
def test_weights_are_the_inverse_of_the_effective_number(beta: float) -> None:
    found = class_weights(CLASSES, 3, beta)
    # The sum of the series by which the paper derives it: the k-th image of a class is new with beta ** (k - 1).
    effective = [sum(beta**image for image in range(count)) for count in (900, 90, 10)]
    expected = 1 / np.array(effective)
    np.testing.assert_allclose(found / found[0], expected / expected[0], rtol=1e-4)
    assert found[CLASSES[CLASSES >= 0]].mean().item() == pytest.approx(1)


def test_weights_lie_between_equal_and_inverse_frequency() -> None:
    assert class_weights(CLASSES, 3, 0.0).tolist() == pytest.approx([1, 1, 1])
    found = class_weights(CLASSES, 3, 1 - 1e-9)
    assert (found[1] / found[0]).item() == pytest.approx(10, rel=1e-3)


def test_a_class_that_no_image_has_and_no_label_at_all_are_finite() -> None:
    assert class_weights(torch.tensor([0, 0, 2]), 3).isfinite().all()
    assert class_weights(torch.full((4,), MISSING), 3).isfinite().all()


@pytest.mark.parametrize("kind", ["multiclass", "binary", "ordinal"])
def test_losses_are_weighed_row_by_row(kind: str) -> None:
    torch.manual_seed(0)
    num = 2 if kind == "binary" else 3
    outputs, weights = torch.randn(20, num), torch.tensor([0.5, 2.0, 7.0])[:num]
    encoded = torch.randint(0, num, (20,))
    encoded[::4] = MISSING
    known = encoded >= 0
    each = torch.stack([KINDS[kind].loss(row[None], label[None]) for row, label in zip(outputs, encoded, strict=True)])
    expected = (each[known] * weights[encoded[known]]).sum() / known.sum()
    torch.testing.assert_close(KINDS[kind].loss(outputs, encoded, weights), expected)
    several = torch.stack([outputs.T, outputs.T * 2])
    torch.testing.assert_close(KINDS[kind].losses(several, encoded, weights)[0], expected)
