"""Claims of one run are a family: the more of them are looked at, the more must be shown for each."""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeVar

from pipeline_lib.stats.intervals import Estimate

K = TypeVar("K")

OutcomeName = Literal["helped", "harmed", "unclear", "not_measurable"]
Claim = Literal["better", "worse"]


class Outcome(NamedTuple):
    """What can be claimed, and the baselines that do as well for all that is known."""

    name: OutcomeName
    not_beaten: tuple[str, ...]


def holm(p: Mapping[K, float]) -> dict[K, float]:
    """Return p-values corrected for their number by Holm (1979): below 0.05, any error among them has 5% at most.

    A missing p-value (NaN) stays missing and does not count.
    """
    known = sorted((value, index, key) for index, (key, value) in enumerate(p.items()) if not math.isnan(value))
    corrected, largest = dict(p), 0.0
    for rank, (value, _, key) in enumerate(known):
        largest = max(largest, min(1.0, value * (len(known) - rank)))
        corrected[key] = largest
    return corrected


def claims(gains: Mapping[K, Estimate], level: float = 0.05) -> dict[K, Claim | None]:
    """Return which gains are known to be above zero, or below, each after Holm's correction over all of them."""
    corrected = holm({key: gain.p for key, gain in gains.items()})
    return {
        key: ("better" if gain.value > 0 else "worse") if corrected[key] <= level else None
        for key, gain in gains.items()
    }


def outcomes(comparisons: Mapping[K, Mapping[str, Estimate]], level: float = 0.05) -> dict[K, Outcome]:
    """Return what each comparison comes to; ``comparisons`` gives the gains (> 0 is better) over each baseline.

    *Helped* is better than every baseline, *harmed* worse than the first, which is the reference, both after Holm's
    correction over all comparisons; *not measurable* is a comparison without a gain over its reference.
    """
    p = {key: _p_value(gains) for key, gains in comparisons.items()}
    corrected = holm(p)
    found = {}
    for key, gains in comparisons.items():
        # A baseline is beaten if it alone would have been: by its own p-value, in this family.
        not_beaten = tuple(
            name for name, gain in gains.items() if not (gain.value > 0 and holm({**p, key: gain.p})[key] <= level)
        )
        found[key] = Outcome(_name(gains, not_beaten, corrected[key] <= level), not_beaten)
    return found


def _p_value(gains: Mapping[str, Estimate]) -> float:
    """Return the p-value of the one claim that the signs allow: 1 for none, NaN where it cannot be tested."""
    if not gains:
        return math.nan
    reference = next(iter(gains.values()))
    if reference.value < 0:
        return reference.p
    if any(gain.value <= 0 for gain in gains.values()):
        return 1.0
    p = [gain.p for gain in gains.values()]
    return math.nan if any(map(math.isnan, p)) else max(p)


def _name(gains: Mapping[str, Estimate], not_beaten: tuple[str, ...], claimed: bool) -> OutcomeName:
    if not gains or math.isnan(next(iter(gains.values())).value):
        return "not_measurable"
    if not claimed:
        return "unclear"
    return "harmed" if not_beaten else "helped"
