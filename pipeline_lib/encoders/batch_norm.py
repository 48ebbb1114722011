"""The statistics of batch normalisation that given weights came with, held while everything else is trained.

They are of the many images that the weights learnt from. Those of a few alike ones, changed by random views, would take
their place within some steps, and the features that are left say less (benchmarks/README.md).
"""

from typing import Any

from torch.nn.modules.batchnorm import _BatchNorm

from pipeline_lib.encoders.encoder import Encoder


def hold_statistics(encoder: Encoder) -> None:
    """Let batch normalisation go by its statistics as they are from now on, in copies of the encoder too."""
    # At every pass, for whoever trains sets the mode of all parts, and may replace them by synchronised ones.
    encoder.register_forward_pre_hook(_hold)


def _hold(encoder: Encoder, inputs: Any) -> None:
    for part in encoder.modules():
        if isinstance(part, _BatchNorm):
            part.eval()
