"""What a reader hands on: pictures as found, before they are decoded and framed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Sample:
    """One picture as found.

    ``load`` returns the encoded bytes or, where there are none, a decoded picture.
    """

    path: str
    load: Callable[[], bytes | Image.Image]
    labels: Mapping[str, Any] = field(default_factory=dict)
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Reading:
    """All samples of a source, and the names of the labels that it has.

    ``measures`` are labels computed from the framed picture (uint8 ``[H, W, C]``) instead of read.
    """

    samples: list[Sample]
    labels: tuple[str, ...]
    measures: Mapping[str, Callable[[Any], float | None]] = field(default_factory=dict)
