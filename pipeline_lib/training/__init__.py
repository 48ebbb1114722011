"""The training loop that pretraining, heads and adaptation share."""

from pipeline_lib.training.batches import Batches
from pipeline_lib.training.loop import Hardware, fit
from pipeline_lib.training.optimisers import OPTIMIZERS

__all__ = ["OPTIMIZERS", "Batches", "Hardware", "fit"]
