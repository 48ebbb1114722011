"""The block ``heads``."""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from pipeline_lib.core.errors import nearest, shown
from tasks.blocks.base import Block, Count, Positive, Several, listed, repeated
from tasks.blocks.views import DIGITS, Views

# The word of ``use`` for the choice on the validation part.
AUTO = "auto"


class Heads(Block):
    """Heads for every label on one shared encoder."""

    usual: ClassVar[float] = 4e-3

    strategies: Annotated[list[str], Field(min_length=1)] = Field(default=["frozen", "lp_ft", "scratch"])
    use: str = "lp_ft"
    weighting: str = "equal"
    class_balanced: bool = False
    baselines: Annotated[int, Field(ge=0)] = 5
    epochs: Count = 12
    batch_size: Several = 128
    lr: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    views: Views = DIGITS.model_copy(update={"min_scale": 0.6})

    @model_validator(mode="after")
    def _use_is_a_strategy(self) -> "Heads":
        if (twice := repeated(self.strategies)) is not None:
            raise ValueError(f"strategies name {shown(twice)} twice: name it once")
        if self.use not in (*self.strategies, AUTO):
            hint = nearest(self.use, (*self.strategies, AUTO))
            raise ValueError(
                f"use is {shown(self.use)}, which is neither {AUTO} nor in strategies: {listed(self.strategies)}{hint}"
            )
        return self
