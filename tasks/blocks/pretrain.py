"""The block ``pretrain``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.blocks.base import Block, Count, Options, Positive, Several
from tasks.blocks.views import DIGITS, Views


class Pretrain(Block):
    """Self-supervised pretraining on the source's images."""

    usual: ClassVar[float] = 2e-3

    method: str = "simclr"
    encoder: str = "small_cnn"
    weights: Literal["random", "hub", "file"] = "random"
    weights_path: Annotated[str, Field(min_length=1)] = "requirements.lock"
    allow_partial: bool = False
    hold_statistics: bool = True
    size: Annotated[int, Field(ge=8, le=1024)] | None = None
    epochs: Count = 20
    batch_size: Several = 256
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    lr: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    options: Options = Field(default={})
    transforms: Literal["batched", "lightly"] = "batched"
    views: Views = DIGITS
    watch: str | None = None
    tensorboard: bool = False
    devices: Count = 1
    num_nodes: Count = 1
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
