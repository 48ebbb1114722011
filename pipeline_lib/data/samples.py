"""What a reader hands on: pictures as found, before they are decoded and framed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

# What a reader calls the label of a source that has one without a name: a class's folder, or a lone array.
LABEL = "label"


@dataclass(frozen=True)
class Sample:
    """One picture as found.

    ``path`` says where, in printable characters. ``load`` returns the encoded bytes or, where there are none, a
    decoded picture; it raises BrokenImageError where there is neither. ``file`` is the file that holds these bytes
    and no others, if there is one.
    """

    path: str
    load: Callable[[], bytes | Image.Image]
    labels: Mapping[str, Any] = field(default_factory=dict)
    split: str | None = None
    group: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class Reading:
    """All samples of a dataset, and the names of the labels that it has.

    ``measures`` are labels computed from the framed picture (uint8 ``[H, W, C]``) instead of read. ``others`` names
    what could be a label too but was not asked for. ``passed_over`` counts the files that are not read, by suffix.
    ``notes`` are sentences for the person who watches. ``in_order`` says that the pictures stand in streams, so that
    one thread has to load them in their order: any other goes back to the start. Else any threads may load any of them.
    """

    samples: list[Sample]
    labels: tuple[str, ...]
    measures: Mapping[str, Callable[[Any], float | None]] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    in_order: bool = False


def printable(name: str) -> str:
    r"""Return ``name`` with all that is not printable (line breaks, broken UTF-8) and ``\`` as ``\x..`` or the like.

    Such names survive in any file, terminal and page, and two different names stay different.
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in name)
