"""The block ``evaluate``."""

from typing import Annotated

from pydantic import Field

from tasks.blocks.base import Block, Count, Several


class Evaluate(Block):
    """The evaluation of what carried over."""

    labels_per_class: Annotated[list[Count], Field(min_length=1)] = Field(default=[1, 5, 10, 50])
    repeats: Several = 10
    restarts: Count = 3
    neighbors: Several = 15
    umap_dims: Several = 10
    num_clusters: Several | None = None
