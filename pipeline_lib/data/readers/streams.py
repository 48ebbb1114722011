"""Rows that stand one after the other in a file, of which no more than a part is held at a time."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from pipeline_lib.core.errors import reason
from pipeline_lib.data.images import BrokenImageError

T = TypeVar("T")
MOST_DEFLATED = 1032  # bytes that deflate can make of one: a header may claim more than memory holds


class Stream(Generic[T]):
    """Rows by their number: quick in rising order; for a lower one all is read anew from the start.

    ``start`` returns the rows from the first one on. Raises BrokenImageError for those after which, or in which, the
    file is damaged.
    """

    def __init__(self, start: Callable[[], Iterator[T]]) -> None:
        self._start = start
        self._rows: Iterator[T] = iter(())
        self._next = 0
        self._ended: str | None = None

    def __call__(self, number: int) -> T:
        """Return a row."""
        if number < self._next or not self._next:
            self._rows, self._next, self._ended = self._start(), 0, None
        while self._ended is None:
            try:
                row = next(self._rows)
            except StopIteration:
                self._ended = "the file ends before it"
            except Exception as error:  # a damaged file makes zlib, zipfile and pyarrow raise nearly anything
                self._ended = f"the file is damaged ({reason(error)})"
            else:
                self._next += 1
                if self._next > number:
                    return row
        raise BrokenImageError(self._ended)
