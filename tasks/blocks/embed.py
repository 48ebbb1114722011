"""The block ``embed``."""

from tasks.blocks.base import Block, Count, Several


class Embed(Block):
    """Turning images into features."""

    batch_size: Count = 512
    source_sample: Several = 2000
