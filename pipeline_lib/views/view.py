"""What a random view may change, as plain data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """The strengths of one random view; the default changes nothing.

    Attributes:
        size: px of the square view; None takes the encoder's.
        min_scale, max_scale: share of the image's area that a crop keeps; its aspect ratio is between 3/4 and 4/3.
        rotation, shear: the largest angles in degrees, either way.
        flip, jitter, grayscale, blur, solarize: probabilities.
        brightness, contrast, saturation: factors are drawn from 1 ± this, where a sample is jittered.
        hue: turns by up to this share of the colour circle, where a sample is jittered.
    """

    size: int | None = None
    min_scale: float = 1.0
    max_scale: float = 1.0
    rotation: float = 0.0
    shear: float = 0.0
    flip: float = 0.0
    jitter: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0
    solarize: float = 0.0
