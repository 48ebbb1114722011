"""Progress that a person reads on a terminal and a program reads from a pipe."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 1.0


class Tracker:
    """Counts what is done of ``total``; made by :func:`progress`."""

    def __init__(self, label: str, total: int, bar: Progress | None) -> None:
        self.label, self.total, self.done = label, total, 0
        self._bar = bar
        self._task = bar.add_task(label, total=total, metrics="") if bar else None
        self._last = time.monotonic()

    def advance(self, steps: int = 1, **metrics: float) -> None:
        """Count ``steps`` more, showing ``metrics`` beside them."""
        self.done += steps
        if self._bar is not None and self._task is not None:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            self._bar.update(self._task, completed=self.done, metrics=shown)
        elif time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            event = {"event": "progress", "label": self.label, "done": self.done, "total": self.total}
            print(json.dumps({**event, "metrics": metrics}), flush=True)


@contextmanager
def progress(label: str, total: int) -> Iterator[Tracker]:
    """Yield a Tracker: a bar on a terminal; elsewhere one JSON line a second at most, on standard output."""
    if sys.stdout.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[metrics]}"), console=Console()) as bar:
            yield Tracker(label, total, bar)
    else:
        yield Tracker(label, total, None)


def track(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """Yield from ``items``, showing progress towards ``total``."""
    with progress(label, total) as tracker:
        for item in items:
            yield item
            tracker.advance()


def say(message: str) -> None:
    """Print one line for the person who watches."""
    print(message, flush=True)
