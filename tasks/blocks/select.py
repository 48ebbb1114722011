"""The block ``select``."""

from pydantic import Field

from tasks.blocks.base import Block, Count, Options


class Select(Block):
    """Which source images pretraining uses, and with what weight."""

    method: str = "everything"
    size: Count | None = None
    options: Options = Field(default={})
