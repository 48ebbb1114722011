"""The keys of params.yaml that are in no block, apart, so that a stage takes those that it reads."""

from typing import Annotated

from pydantic import Field

from tasks.blocks.base import Part

Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class Drawn(Part):
    """Of a stage that draws at random from data."""

    seed: Seed = 0


class Trained(Part):
    """Of a stage that joins all trainings."""

    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(default=[0])


class Computed(Part):
    """Of a stage that may use a GPU."""

    device: str = "auto"


class Roles(Part):
    """Of a stage that reads datasets by their role."""

    source: Annotated[list[str], Field(min_length=1)]
    target: Annotated[list[str], Field(min_length=1)]
