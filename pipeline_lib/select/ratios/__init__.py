"""Estimates of p_target(x) / p_source(x) for every source image. A new one is a file and a line here.

Each takes :class:`~pipeline_lib.select.ratios.pair.Pair` and returns float64 ``[N]``, at least 0 and of any scale.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from pipeline_lib.select.ratios.classifier import classifier
from pipeline_lib.select.ratios.kmm import kmm
from pipeline_lib.select.ratios.pair import Pair
from pipeline_lib.select.ratios.ulsif import ulsif

RATIOS: Mapping[str, Callable[[Pair], np.ndarray]] = {"classifier": classifier, "ulsif": ulsif, "kmm": kmm}
By = Literal["classifier", "ulsif", "kmm"]

__all__ = ["RATIOS", "By", "Pair"]
