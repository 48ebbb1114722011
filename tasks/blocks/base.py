"""What the blocks of params.yaml are made of."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")
Share = Annotated[float, Field(ge=0, le=1)]
# A slip of the finger is refused, and no number is too long for a file's name or a sentence.
MOST = 10**9
Count = Annotated[int, Field(ge=1, le=MOST)]
Several = Annotated[int, Field(ge=2, le=MOST)]
Positive = Annotated[float, Field(gt=0)]
Options = dict[str, Any]


class Block(BaseModel):
    """A part of params.yaml: frozen, without unknown keys, without silent conversions, all numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Part(Block):
    """Some of the blocks and keys at the top of params.yaml; the others are for others to read."""

    model_config = ConfigDict(extra="ignore")


def repeated(values: Sequence[T]) -> T | None:
    """Return the first value that was there before, if any."""
    return next((value for place, value in enumerate(values) if value in values[:place]), None)


def listed(names: Iterable[str], most: int = 10) -> str:
    """Return names for a sentence, no more than ``most`` of them, long ones cut."""
    first = [name if len(name) <= 50 else f"{name[:50]}..." for name in islice(names, most + 1)]
    return ", ".join([*first[:most], "..."] if len(first) > most else first) or "none"
