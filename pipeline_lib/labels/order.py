"""The order in which people list names: "2" before "10"."""

import re
from collections.abc import Iterable


def natural_key(text: str) -> list[tuple[bool, int, str]]:
    """Return a sort key under which "2" comes before "10"."""
    return [_part_key(part) for part in re.split(r"(\d+)", text) if part]


def natural_order(names: Iterable[str]) -> list[str]:
    """Return the different ``names`` in natural order; what it does not tell apart ("7", "07") is in that of text."""
    return sorted(sorted(set(names)), key=natural_key)


def _part_key(part: str) -> tuple[bool, int, str]:
    # Of two whole numbers the one with more digits is larger; int() would fail on very long ones.
    digits = part.lstrip("0")
    return (False, len(digits), digits) if part.isdecimal() else (True, 0, part)
