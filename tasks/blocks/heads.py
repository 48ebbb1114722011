"""The block ``heads``."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.blocks.base import Block, Count, Positive, Several
from tasks.blocks.views import DIGITS, Views


class Heads(Block):
    """Heads for every label on one shared encoder."""

    train: Literal["frozen", "finetuned", "scratch"] = "scratch"
    epochs: Count = 12
    batch_size: Several = 128
    lr: Positive = 4e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    views: Views = DIGITS.model_copy(update={"min_scale": 0.6})
