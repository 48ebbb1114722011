"""The page that compares the runs of a sweep: mean and interval over the runs of each setting."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from pipeline_lib.report.environment import environment, own, policy

CONFIDENCE = 0.95
# What settles by chance: a setting is judged by all its runs that differ in nothing else.
SEED, SEEDS = "seed", "seeds"


@dataclass(frozen=True)
class Setting:
    """A setting of a sweep, as texts, with the metric of each of its runs, by their names; None for one without.

    ``chance`` is what tells its runs apart, such as "seed 0". ``low`` and ``high`` bound the mean with 95% confidence,
    by Student's t; None with fewer than two runs.
    """

    values: Mapping[str, str]
    runs: Mapping[str, float | None]
    chance: Mapping[str, str]
    mean: float | None
    low: float | None
    high: float | None


def compare(
    combinations: Mapping[str, Mapping[str, Any]], scores: Mapping[str, float | None], maximise: bool = True
) -> list[Setting]:
    """Put runs that differ in nothing but chance together, the best mean first.

    Chance is the ``seed``, and ``seeds`` as long as each run has one: a list of several, over which a run averages by
    itself, is a setting. ``scores`` is the metric of the combinations that have run to their end, by their names.
    Settings without any score come last.
    """
    chance = _chance(combinations.values())
    groups: dict[str, list[str]] = {}
    for name, combination in combinations.items():
        settled = {key: value for key, value in combination.items() if key not in chance}
        groups.setdefault(repr(settled), []).append(name)
    settings = [_setting({name: combinations[name] for name in names}, scores, chance) for names in groups.values()]
    sign = -1 if maximise else 1
    return sorted(settings, key=lambda setting: math.inf if setting.mean is None else sign * setting.mean)


def _chance(combinations: Iterable[Mapping[str, Any]]) -> list[str]:
    single = all(isinstance(seeds := one.get(SEEDS, []), list) and len(seeds) < 2 for one in combinations)
    return [SEED, SEEDS] if single else [SEED]


def _setting(
    runs: Mapping[str, Mapping[str, Any]], scores: Mapping[str, float | None], chance: Sequence[str]
) -> Setting:
    values = {key: _text(value) for key, value in next(iter(runs.values())).items() if key not in chance}
    told = {name: ", ".join(f"{key} {_text(one[key])}" for key in chance if key in one) for name, one in runs.items()}
    own = {name: scores.get(name) for name in runs}
    found = np.array([score for score in own.values() if score is not None])
    if len(found) < 2:
        return Setting(values, own, told, float(found.mean()) if len(found) else None, None, None)
    mean = float(found.mean())
    error = float(found.std(ddof=1) / math.sqrt(len(found)))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(found) - 1)) * error
    return Setting(values, own, told, mean, mean - reach, mean + reach)


def _text(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, (list, dict)) else str(value)


def render_comparison(
    title: str,
    metric: str,
    maximise: bool,
    settings: Sequence[Setting],
    facts: Mapping[str, str],
    failures: Sequence[str],
) -> str:
    """Return the page as HTML, which loads nothing. ``facts`` are told at its top, ``failures`` below the table."""
    bounds = [bound for s in settings for bound in (s.low, s.high, *s.runs.values()) if bound is not None]
    low, high = (min(bounds), max(bounds)) if bounds else (0.0, 1.0)
    return (
        environment()
        .get_template("comparison.html")
        .render(
            title=title,
            policy=policy([]),
            style=own("page.css"),
            metric=metric,
            maximise=maximise,
            settings=settings,
            facts=facts,
            failures=failures,
            keys=list(settings[0].values),
            rivals=sum(_overlap(settings[0], other) for other in settings[1:]),
            at=lambda value: 100 * (value - low) / ((high - low) or 1),
        )
    )


def _overlap(first: Setting, other: Setting) -> bool:
    """Say whether the intervals of two settings overlap; False if one has none."""
    if first.low is None or first.high is None or other.low is None or other.high is None:
        return False
    return first.low <= other.high and other.low <= first.high
