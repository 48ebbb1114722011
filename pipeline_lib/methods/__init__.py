"""Self-supervised objectives, and the supervised one that they are compared with. A new one is a file and a line here.

A method is a module made of an encoder and a function ``augment`` from its views to a function that draws them. Its
``forward`` maps uint8 images ``[B, C, H, W]`` (and labels ``[B]``, those in LABELLED) to named scalars, of which
``loss`` is minimised and the others are shown. ``begin_step(progress)``, where there is one, is called before each
training step with the share of the training that is done. All that a method remembers is in its state. Its options
are keyword-only, each number with its range, see :func:`pipeline_lib.core.registry.with_options`.

The constructor leaves the encoder as training starts from it: some draw its weights in their own way, and nothing
before the first step changes it after that. Use :func:`kept_encoder` for what the training is for.

In a distributed training every process computes the loss of the whole batch, see
:func:`pipeline_lib.core.ranks.gather`, so that the number of processes changes neither loss nor gradients.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from pipeline_lib.encoders.encoder import Encoder
from pipeline_lib.methods.barlow_twins import BarlowTwins
from pipeline_lib.methods.byol import BYOL
from pipeline_lib.methods.dino import DINO
from pipeline_lib.methods.lejepa import LeJEPA
from pipeline_lib.methods.mae import MAE
from pipeline_lib.methods.moco import MoCo
from pipeline_lib.methods.simclr import SimCLR
from pipeline_lib.methods.simsiam import SimSiam
from pipeline_lib.methods.supervised import Supervised
from pipeline_lib.methods.swav import SwAV
from pipeline_lib.methods.vicreg import VICReg

METHODS: Mapping[str, Callable[..., nn.Module]] = {
    "simclr": SimCLR,
    "moco": MoCo,
    "byol": BYOL,
    "simsiam": SimSiam,
    "barlow_twins": BarlowTwins,
    "vicreg": VICReg,
    "swav": SwAV,
    "dino": DINO,
    "mae": MAE,
    "lejepa": LeJEPA,
    "supervised": Supervised,
}
# Their forward takes labels.
LABELLED = {"supervised"}


def kept_encoder(method: nn.Module) -> Encoder:
    """Return the encoder that a method hands on: its ``kept`` where it has one, as DINO its teacher's, else its own."""
    learner: Any = method
    kept: Encoder = getattr(learner, "kept", learner.encoder)
    return kept


__all__ = ["LABELLED", "METHODS", "kept_encoder"]
