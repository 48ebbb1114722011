"""Temperatures that turn the outputs of heads into probabilities that can be believed (Guo 2017, arXiv:1706.04599)."""

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

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


def calibration_error(probabilities_NC: Tensor, truth_N: Tensor, num_bins: int = 15) -> float:
    """Return the expected calibration error (Naeini 2015, doi:10.1609/aaai.v29i1.9602), 0 at best.

    Images are put into bins of equal width by the probability of their most probable class; it is the mean over the
    images of how far that probability is, on average over their bin, from the share of them that are right.
    """
    confidence_N, said_N = probabilities_NC.max(dim=1)
    bin_N = (confidence_N * num_bins).ceil().long().clamp(1, num_bins) - 1
    excess_N = confidence_N - (said_N == truth_N).to(confidence_N)
    return float(torch.zeros(num_bins).to(excess_N).index_add(0, bin_N, excess_N).abs().sum() / len(excess_N))
