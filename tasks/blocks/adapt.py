"""The block ``adapt``."""

from typing import Annotated

from pydantic import Field, model_validator

from pipeline_lib.core.errors import nearest, shown
from tasks.blocks.base import Block, Count, Options, Positive, Several, listed, repeated

# The words of ``use`` for handing the model on as it is, and for a choice without target labels.
NOTHING, AUTO = "none", "auto"


class Adapt(Block):
    """Adaptation of encoder and heads to the unlabelled target."""

    methods: Annotated[list[str], Field(min_length=1)] = Field(default=["adabn", "mcc", "shot_im"])
    use: str = AUTO
    scorers: Annotated[list[str], Field(min_length=1)] = Field(default=["class_ami", "infomax", "mixval"])
    epochs: Count = 15
    batch_size: Several = 128
    lr: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    options: dict[str, Options] = Field(default={})

    @model_validator(mode="after")
    def _use_is_a_method(self) -> "Adapt":
        if (twice := repeated(self.methods)) is not None:
            raise ValueError(f"methods name {shown(twice)} twice: name it once")
        known = listed(self.methods)
        if self.use not in (*self.methods, AUTO, NOTHING):
            hint = nearest(self.use, (*self.methods, AUTO, NOTHING))
            raise ValueError(
                f"use is {shown(self.use)}, which is neither {AUTO} nor {NOTHING} nor in methods: {known}{hint}"
            )
        if (twice := repeated(self.scorers)) is not None:
            raise ValueError(f"scorers name {shown(twice)} twice: name it once")
        for name in self.options:
            if name not in self.methods:
                hint = nearest(name, self.methods)
                raise ValueError(f"options has {shown(name)}, which is not in methods: {known}{hint}")
        return self
