"""What a user can get wrong, said in one sentence."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class UserError(Exception):
    """A mistake that the user can mend: one sentence naming the thing, its place and the way out.

    The stage entry prints it without a traceback and exits with code 2.
    """


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the allowed word nearest to ``word``, or an empty string."""
    # Beyond that it is no slip of a name, and to compare it would take long.
    close = get_close_matches(word[:100], list(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def reason(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind if it says nothing, to stand within a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def shown(value: Any, most: int = 80) -> str:
    """Return a value as a message shows it: on one line, cut in the middle to about ``most`` characters."""
    try:
        text = repr(value).replace("\n", " ")
    except ValueError:  # Python writes out no number of thousands of digits
        return "a value too long to show"
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-(most // 2) :]}"
