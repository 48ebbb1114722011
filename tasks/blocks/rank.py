"""The block ``rank``."""

from typing import Annotated

from pydantic import Field

from tasks.blocks.base import MOST, Block, Several
from tasks.blocks.compare import PIXELS

# Candidates that are there without being named: no encoder, that of ``pretrain`` untrained, and with its weights.
RANDOM, GIVEN = "random", "given"
BUILT_IN = (PIXELS, RANDOM, GIVEN)


class Rank(Block):
    """The rankings of source datasets and of encoders."""

    sample: Annotated[int, Field(ge=20, le=MOST)] = 500
    resamples: Several = 40
    features: str = PIXELS
