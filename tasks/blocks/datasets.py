"""The block ``datasets``."""

from typing import Annotated

from pydantic import Field, model_validator

from tasks.blocks.base import Block, Count, Options, Part, Share

Grey = Annotated[int, Field(ge=0, le=255)]
# What DVC and every file system take as a part of a name.
DatasetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,49}$")]

# What `columns` may name beside labels.
GROUP = "group"


class DatasetSpec(Block):
    """Where the images of a dataset come from and how they are framed."""

    reader: str
    path: Annotated[str, Field(min_length=1)]
    labels: str | None = None
    columns: dict[str, str] = Field(default={})
    options: Options = Field(default={})
    content: Count = 28
    background: Grey = 0
    invert: bool = False
    levels: Annotated[list[Grey], Field(min_length=2, max_length=2)] = Field(default=[0, 255])
    max_broken: Share = 0.1
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    limit: Count | None = None

    @model_validator(mode="after")
    def _levels_rise(self) -> "DatasetSpec":
        if self.levels[0] >= self.levels[1]:
            raise ValueError(f"levels are {self.levels}, but the first must be below the second")
        return self


class Ingested(Part):
    """Of a stage that makes a dataset."""

    datasets: Annotated[dict[DatasetName, DatasetSpec], Field(min_length=1)]
