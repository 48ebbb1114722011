"""The block ``report``."""

from tasks.blocks.base import Block, Count


class Report(Block):
    """The page that sums it up."""

    title: str = "What carried over"
    thumbnails: Count = 2000
