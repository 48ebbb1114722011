"""The page that compares the runs of a sweep: mean and interval over the seeds of each setting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from pipeline_lib.report.environment import environment, own, policy

SEED = "seed"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Setting:
    """A setting of a sweep with the metric of each seed that has run.

    ``low`` and ``high`` bound the mean with 95% confidence, by Student's t; None with fewer than two seeds.
    """

    values: Mapping[str, Any]
    seeds: Mapping[Any, float | None]
    mean: float | None
    low: float | None
    high: float | None


def compare(
    combinations: Sequence[Mapping[str, Any]], scores: Sequence[float | None], maximise: bool = True
) -> list[Setting]:
    """Put runs that differ in nothing but the seed together, the best mean first.

    ``scores`` is the metric of each combination, None for one that has not run to its end. Settings without any
    score come last.
    """
    groups: dict[tuple[Any, ...], dict[Any, float | None]] = {}
    keys = [key for key in combinations[0] if key != SEED]
    for combination, score in zip(combinations, scores, strict=True):
        group = groups.setdefault(tuple(combination[key] for key in keys), {})
        group[combination.get(SEED)] = score
    settings = [_setting(dict(zip(keys, values, strict=True)), seeds) for values, seeds in groups.items()]
    sign = -1 if maximise else 1
    return sorted(settings, key=lambda setting: math.inf if setting.mean is None else sign * setting.mean)


def _setting(values: Mapping[str, Any], seeds: Mapping[Any, float | None]) -> Setting:
    found = np.array([score for score in seeds.values() if score is not None])
    if not len(found):
        return Setting(values, seeds, None, None, None)
    mean = float(found.mean())
    if len(found) < 2:
        return Setting(values, seeds, mean, None, None)
    error = float(found.std(ddof=1) / math.sqrt(len(found)))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(found) - 1)) * error
    return Setting(values, seeds, mean, mean - reach, mean + reach)


def render_comparison(
    title: str,
    metric: str,
    maximise: bool,
    settings: Sequence[Setting],
    facts: Mapping[str, str],
    failures: Sequence[str],
) -> str:
    """Return the page as HTML, which loads nothing. ``facts`` are told at its top, ``failures`` below the table."""
    bounds = [bound for s in settings for bound in (s.low, s.high, *s.seeds.values()) if bound is not None]
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
