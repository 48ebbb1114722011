"""The training loop that pretraining, heads and adaptation share."""

from pipeline_lib.training.batches import Batches
from pipeline_lib.training.loop import fit

__all__ = ["Batches", "fit"]
