"""Prefect's server is lost: the stages go on to their end, and what it should have recorded is left out."""

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import httpx
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_URL

from flows.server.start import answers
from pipeline_lib.core.progress import say

T = TypeVar("T")
SECONDS_BETWEEN_TRIES = 5.0
# What logs, with tracebacks, every message that could not be delivered.
_NOISY = ("prefect.events.clients", "prefect._internal.concurrency", "prefect.flow_runs")

# When the server was missing last, and whether the user knows.
_missed = {"at": -float("inf"), "told": False}
_outcome: dict[str, State] = {}
_lost: set[str] = set()  # addresses of servers that were not told how the run ended


def told(action: Callable[[], T]) -> T | None:
    """Return what ``action`` returns, which tells the server something; None if the server does not take it."""
    if missing():
        return None
    try:
        return action()
    except (httpx.HTTPError, PrefectException) as error:  # not worth a stage, whatever it is
        if not missing():
            say(f"Prefect's server did not take what it was told: {' '.join(str(error).split())}")
        return None


def keep(state: State) -> State:
    """Keep what became of the run, which the server may no longer be there to be told, and return it."""
    _outcome["state"] = state
    return state


def kept() -> State | None:
    """Return what became of the run, None while that is not known."""
    return _outcome.get("state")


def forget() -> None:
    """Forget what became of an earlier run of this process."""
    _outcome.clear()


def outcome(run: Callable[[], State]) -> State:
    """Return how ``run``, a flow, ended, even if Prefect could not tell the server so at the end.

    Raises SystemExit with a sentence where the flow itself did not come to an end.
    """
    loggers = [logging.getLogger(name) for name in _NOISY]
    for logger in loggers:
        logger.addFilter(_is_no_noise)
    logging.raiseExceptions = False  # what could not be logged at the server stands on the screen
    try:
        return run()
    except httpx.HTTPError:
        url = PREFECT_API_URL.value()
        _lost.add(str(url))
        if (state := kept()) is None:
            raise SystemExit(
                f"error: Prefect's server at {url} was lost before the stages had ended: run again"
            ) from None
        say(f"Prefect's server at {url} was lost: how this run went on is not recorded there, but DVC has its results")
        return state
    finally:
        for logger in loggers:
            logger.removeFilter(_is_no_noise)


def is_lost() -> bool:
    """Say whether the server was lost before it was told how the run ended."""
    return bool(_lost)


def leave(code: int | str | None) -> None:
    """End this process at once, without waiting for what can no longer be delivered; a text is an error."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else bool(code))


def missing() -> bool:
    """Say whether the server does not answer, and tell the user when it no longer does."""
    if time.monotonic() - _missed["at"] < SECONDS_BETWEEN_TRIES:
        return True
    url = str(PREFECT_API_URL.value())
    if answers(url):
        _missed["told"] = False
        return False
    _missed["at"] = time.monotonic()
    if not _missed["told"]:
        _missed["told"] = True
        say(f"Prefect's server at {url} does not answer: the run goes on, and is not recorded meanwhile")
    return True


def _is_no_noise(record: logging.LogRecord) -> bool:
    if record.name == "prefect.flow_runs":
        noisy = isinstance(record.exc_info and record.exc_info[1], httpx.HTTPError)
    else:
        noisy = record.levelno >= logging.WARNING
    return not (noisy and missing())
