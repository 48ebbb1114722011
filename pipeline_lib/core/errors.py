"""What a user can get wrong, said in one sentence."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake that the user can mend: one sentence naming the thing, its place and the way out.

    The stage entry prints it without a traceback and exits with code 2.
    """


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the allowed word nearest to ``word``, or an empty string."""
    close = get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
