"""The block ``audit``."""

from typing import Annotated

from pydantic import Field

from tasks.blocks.base import MOST, Block, Count, Share
from tasks.blocks.compare import PIXELS


class Refuse(Block):
    """Findings at which the audit stops the pipeline; null only reports."""

    domain_auc: Share | None = None
    duplicates_across: Annotated[int, Field(ge=0)] | None = None
    near_duplicates_across: Annotated[int, Field(ge=0)] | None = None
    near_leaks: Annotated[int, Field(ge=0)] | None = None
    label_errors: Share | None = None
    imbalance: Annotated[float, Field(ge=1)] | None = None


class Audit(Block):
    """Checks of both datasets before anything is learnt from them."""

    sample: Annotated[int, Field(ge=20, le=MOST)] = 2000
    permutations: Count = 200
    features: str = PIXELS
    refuse: Refuse = Refuse()
