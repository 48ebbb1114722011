"""A lock that the system frees by itself when its holder dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pipeline_lib.core.errors import UserError


@contextmanager
def hold(path: Path, busy: str) -> Iterator[TextIO]:
    """Hold the lock file ``path`` and yield it; UserError with the sentence ``busy`` if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(busy) from None
        yield file
