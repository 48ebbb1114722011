"""The block ``views`` of a stage that trains."""

from typing import Annotated

from pydantic import Field, model_validator

from tasks.blocks.base import Block, Share


class Views(Block):
    """Strengths of random views: null is the method's own, and zero changes nothing."""

    min_scale: Annotated[float, Field(gt=0, le=1)] | None = None
    max_scale: Annotated[float, Field(gt=0, le=1)] | None = None
    rotation: Annotated[float, Field(ge=0, le=180)] | None = None
    shear: Annotated[float, Field(ge=0, le=45)] | None = None
    flip: Share | None = None
    jitter: Share | None = None
    brightness: Share | None = None
    contrast: Share | None = None
    saturation: Share | None = None
    hue: Annotated[float, Field(ge=0, le=0.5)] | None = None
    grayscale: Share | None = None
    blur: Share | None = None
    solarize: Share | None = None

    @model_validator(mode="after")
    def _scales_rise(self) -> "Views":
        if (self.min_scale or 0) > (self.max_scale or 1):
            raise ValueError(f"min_scale is {self.min_scale}, above max_scale, which is {self.max_scale}")
        return self


DIGITS = Views(
    min_scale=0.5,
    max_scale=1.0,
    rotation=15.0,
    shear=10.0,
    flip=0.0,
    jitter=1.0,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    grayscale=0.0,
    blur=0.5,
    solarize=0.0,
)
