"""Adapters: they carry a trained model over to an unlabelled target. A new one is a file and a line here.

An adapter changes the model in place. It takes ``(model, target_NCHW, source, primary, train)``: the unlabelled
target's uint8 images; the labelled source as tensors (``images_BCHW`` and the numbered classes of the primary
label); the name of that label; and a function ``train(learner, tensors)`` that fits a learner and returns its
history. Its keyword-only arguments are its options.
"""

from collections.abc import Callable, Mapping

import pandas as pd

from pipeline_lib.adapt.adabn import adabn
from pipeline_lib.adapt.mcc import mcc
from pipeline_lib.adapt.shot_im import shot_im

ADAPTERS: Mapping[str, Callable[..., pd.DataFrame]] = {
    "adabn": adabn,
    "mcc": mcc,
    "shot_im": shot_im,
}

__all__ = ["ADAPTERS"]
