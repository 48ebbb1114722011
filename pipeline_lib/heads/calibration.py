"""Temperatures that turn the outputs of heads into probabilities that can be believed (Guo 2017, arXiv:1706.04599)."""

import math

from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from pipeline_lib.stats.calibration import calibration_error as error_of

# No model is so sure, or so unsure, of itself that more is needed.
COLDEST, HOTTEST = 0.05, 20.0


def temperature(outputs_NK: Tensor, encoded_N: Tensor) -> float:
    """Return what outputs are divided by so that their softmax has the least cross entropy; 1 without images.

    ``encoded_N`` are the numbers of classes, int64, of images that all have one, and that trained nothing.
    """
    if not len(outputs_NK):
        return 1.0
    logits_NK, truth_N = outputs_NK.detach().double().cpu(), encoded_N.cpu()

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits_NK / math.exp(log_temperature), truth_N))

    found = minimize_scalar(loss, bounds=(math.log(COLDEST), math.log(HOTTEST)), method="bounded")
    return math.exp(float(found.x))


def calibration_error(probabilities_NC: Tensor, truth_N: Tensor) -> float:
    """Return the :func:`pipeline_lib.stats.calibration.calibration_error` of the most probable classes."""
    confidence_N, said_N = probabilities_NC.max(dim=1)
    return error_of(confidence_N.cpu().numpy(), (said_N == truth_N).cpu().numpy())
