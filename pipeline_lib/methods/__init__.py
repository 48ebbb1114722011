"""Self-supervised objectives. A new one is a file and a line here.

A method is a module made of an encoder and a function that draws one view of a batch; its ``forward`` maps uint8
images ``[B, C, H, W]`` to named scalars, of which ``loss`` is minimised and the others are shown.
"""

from collections.abc import Callable, Mapping

from torch import nn

from pipeline_lib.methods.simclr import SimCLR

METHODS: Mapping[str, Callable[..., nn.Module]] = {
    "simclr": SimCLR,
}

__all__ = ["METHODS"]
