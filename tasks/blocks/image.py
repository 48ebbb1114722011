"""The block ``image``."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.blocks.base import Block, Part


class Image(Block):
    """The frame that the images of all datasets are brought to."""

    size: Annotated[int, Field(ge=8, le=1024)] = 28
    channels: Literal[1, 3] = 1


class Framed(Part):
    """Of a stage that asks for the frame."""

    image: Image = Image()
