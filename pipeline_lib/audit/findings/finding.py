"""One finding, and how its severity follows from a value."""

from collections.abc import Iterable, Mapping

Finding = dict[str, str]
Refuse = Mapping[str, float | None]

LEVELS = ("blocking", "warning", "info")
NAMED = 4  # names in a sentence


def finding(level: str, about: str, sentence: str, effect: str, advice: str) -> Finding:
    """Return a finding."""
    return {"level": level, "about": about, "sentence": sentence, "effect": effect, "advice": advice}


def limited(found: Finding, value: float, knob: str, refuse: Refuse) -> Finding:
    """Return a finding, or a blocking one where ``refuse`` has a limit for ``knob`` that is below ``value``."""
    limit = refuse.get(knob)
    if limit is None or value <= limit:
        return found
    way_out = f"above audit.refuse.{knob} = {limit:g}: mend the data, raise it or set it to null"
    return {**found, "level": "blocking", "sentence": f"{found['sentence']}, {way_out}"}


def level(value: float, warn_above: float) -> str:
    """Return "warning" for a value above the bound, else "info"."""
    return "warning" if value > warn_above else "info"


def images(count: int, role: str) -> str:
    """Return "1 image of the source is" or "2 images of the source are"."""
    return f"1 image of the {role} is" if count == 1 else f"{count:,} images of the {role} are"


def some(names: Iterable[str]) -> str:
    """Return the first few names between quotes, and how many more there are."""
    known = list(names)
    more = len(known) - NAMED
    return ", ".join(f"'{name}'" for name in known[:NAMED]) + (f" and {more:,} more" if more > 0 else "")
