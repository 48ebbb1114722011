"""Can the confidence be believed? For each model a sentence, and how often its answers are right by how sure it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pipeline_lib.report.charts import Axis, each, grid
from pipeline_lib.report.words import NAMES, capital, clean, count, is_number, runs, score

Record = Mapping[str, Any]
HEIGHT = 240  # px
PERCENT = Axis(0, 100, (0, 20, 40, 60, 80, 100))


def reliability(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the name, the sentence and the drawing of each model; none where there are no classes to score by."""
    return [
        {
            "shown": capital(NAMES[one["model"]]) if one["model"] in NAMES else clean(one["model"]),
            "sentence": reliability_sentence(one),
            "drawing": _drawing(one),
        }
        for one in evaluation["reliability"]
    ]


def reliability_sentence(one: Record) -> str:
    """Say how far a model's confidence is off, what chance alone would show, and whether it can be believed."""
    error, mean, high = (
        score(value, "calibration_error")
        for value in (one["calibration_error"], one["error_by_chance"]["mean"], one["error_by_chance"]["high"])
    )
    sure, right = score(one["confidence"], "accuracy"), score(one["accuracy"], "accuracy")
    seen = f"{runs(one['num_trainings'])}, on {count(one['num_images'], 'image')}"
    said = f"on average it is {sure} sure and right in {right}"
    chance = f"chance alone shows {mean}, and in 95 of 100 draws no more than {high}, of a confidence that is exact"
    if one["calibration_error"] > one["error_by_chance"]["high"]:
        return f"Its confidence cannot be believed {seen}: {said}; the calibration error is {error}, while {chance}."
    return f"Nothing speaks against its confidence {seen}: {said}; the calibration error is {error}, and {chance}."


def _drawing(one: Record) -> Markup:
    """Draw a bar for each bin, up to the share of its answers that are right, beside what chance would leave of it."""
    width = 100 / len(one["bins"])
    bins = [(width * number, each_bin) for number, each_bin in enumerate(one["bins"]) if each_bin["num_answers"]]
    bars = each(
        '<rect class="right" x="{}%" width="{}%" y="{}%" height="{}%"><title>{}</title></rect>',
        (
            (
                round(left + width * 0.1, 2),
                round(width * 0.8, 2),
                round(100 - 100 * part["accuracy"], 2),
                round(100 * part["accuracy"], 2),
                f"{left:g}% to {left + width:g}% sure: {_told(part)}",
            )
            for left, part in bins
        ),
    )
    ranges = each(
        '<line class="chance" x1="{0}%" x2="{0}%" y1="{1}%" y2="{2}%"/>',
        (
            (round(left + width / 2, 2), round(100 - 100 * part["high"], 2), round(100 - 100 * part["low"], 2))
            for left, part in bins
            if is_number(part["low"])
        ),
    )
    counts = each(
        '<text class="x" x="{}%" y="0" dy="-.7em">{:,}</text>',
        ((round(left + width / 2, 2), part["num_answers"]) for left, part in bins),
    )
    return Markup(
        '<svg class="chart reliability" style="height:{height}px" role="img" aria-label="{label}">{grid}{bars}'
        '<svg viewBox="0 0 100 100" preserveAspectRatio="none"><polyline class="line base" points="0,100 100,0"/></svg>'
        "{ranges}{counts}</svg>"
    ).format(
        height=HEIGHT,
        label=f"Share of right answers by confidence: {_spoken(bins, width)}",
        grid=grid(PERCENT, PERCENT, "confidence in %"),
        bars=bars,
        ranges=ranges,
        counts=counts,
    )


def _told(part: Record) -> str:
    right, low, high = (score(part[key], "accuracy") for key in ("accuracy", "low", "high"))
    return f"{right} of {part['num_answers']:,} right, by chance {low} to {high}"


def _spoken(bins: Sequence[tuple[float, Record]], width: float) -> str:
    """Return what a screen reader says of the bars."""
    return "; ".join(f"{left:g}% to {left + width:g}% sure, {_told(part)}" for left, part in bins)
