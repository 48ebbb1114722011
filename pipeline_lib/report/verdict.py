"""The verdict and what applies, as the plain values that their templates lay out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.report.charts import Axis, forest_axis, forest_row, linear_axis
from pipeline_lib.report.reasons import briefly
from pipeline_lib.report.sentences import OUTCOMES, kind_sentences, of_kind, outcome_of
from pipeline_lib.report.words import between, capital, difference, is_number, joined, metric, named, score

Row = Mapping[str, Any]
LEAST_REACH, MOST_REACH = 0.02, 1.0  # of the axis to either side of zero
MOST_LABELS = 6  # whose rows are shown; the others are folded
SAID = {
    "helped": "helped",
    "harmed": "did harm: negative transfer",
    "unclear": "no clear difference",
    "not_measurable": "not measurable",
}
COUNTED = {"helped": "helped", "harmed": "harmed", "unclear": "unclear", "not_measurable": "not measurable"}


def verdict(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return each kind of transfer with its sentence and rows, whose drawings share one axis of gains."""
    rows = evaluation["comparisons"]
    reached = [value for row in rows for one in _drawn(row) for value in _relative(row, one) if value is not None]
    # An error many times that of a constant answer would press everything else together.
    axis = linear_axis([-LEAST_REACH, LEAST_REACH, *(min(max(one, -MOST_REACH), MOST_REACH) for one in reached)])
    kinds = []
    for kind, sentence in kind_sentences(evaluation).items():
        own = [_row(row, axis) for row in of_kind(evaluation, kind)]
        outcome = outcome_of(of_kind(evaluation, kind))
        kinds.append(
            {
                "kind": capital(kind),
                "outcome": outcome,
                "said": SAID.get(outcome) or _counted(own),
                "sentence": capital(sentence),
                "parts": [part for part in (own[:MOST_LABELS], own[MOST_LABELS:]) if part],
                "has_rows": any(row["baselines"] for row in own) or len(own) > 1,
            }
        )
    return {"kinds": kinds, "axis": forest_axis(axis), "zero": axis.at(0), "has_drawings": bool(reached)}


def applies(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row a label: how many images of which role have it, what it is learnt from, and what follows."""
    return [
        {
            **{key: task[key] for key in ("name", "kind", "learn_from", "cell", "explain")},
            "source": [task["counts"][f"source_{split}"] for split in ("train", "test")],
            "target": [task["counts"][f"target_{split}"] for split in ("train", "test")],
            "is_primary": task["name"] == evaluation["primary"],
        }
        for task in evaluation["tasks"]
    ]


def _row(row: Row, axis: Axis) -> dict[str, Any]:
    of = row["metric"]
    constant = next((one for one in row["baselines"] if one["name"] == "constant"), None)
    return {
        "label": row["label"],
        "outcome": row["outcome"],
        "said": COUNTED[row["outcome"]],
        "why": briefly(row) if row["outcome"] == "not_measurable" else "",
        "metric": metric(of).words,
        "value": score(row["value"], of),
        "method": named(row["method"]),
        "constant": f"{named('constant', of)} {score(constant['value'], of)}" if constant else "",
        "baselines": [
            {
                "name": named(one["name"], of),
                "value": score(one["value"], of),
                "drawing": forest_row(
                    axis, *_relative(row, one), "unclear" if _is_as_good(row, one) else row["outcome"]
                ),
                **_difference(row, one),
            }
            for one in _drawn(row)
        ],
    }


def _drawn(row: Row) -> list[Mapping[str, Any]]:
    """Return the baselines but a constant answer that is beaten: it would stretch the axis, and stands by the score."""
    others = [one for one in row["baselines"] if one["name"] != "constant"]
    return [one for one in row["baselines"] if one in others or one["name"] in row["not_beaten"]] or list(
        row["baselines"]
    )


def _is_as_good(row: Row, one: Mapping[str, Any]) -> bool:
    """Say whether nothing is claimed about this baseline by itself."""
    return row["outcome"] != "helped" and not (row["outcome"] == "harmed" and one is row["baselines"][0])


def _relative(row: Row, one: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """Return gain and interval in the axis' unit: the score's own, or the share of the constant answer's error."""
    scale = 1.0
    if metric(row["metric"]).unit == "own":
        scale = next((base["value"] for base in row["baselines"] if base["name"] == "constant"), one["value"])
    if not is_number(scale) or not scale or not is_number(one["gain"]):
        return None, None, None
    low, high = (one[end] / scale if is_number(one[end]) else None for end in ("low", "high"))
    return one["gain"] / scale, low, high


def _difference(row: Row, one: Mapping[str, Any]) -> dict[str, str]:
    """Return by how much the method's score differs from the baseline's, as it is written."""
    if not is_number(one["gain"]):
        return {"difference": "not known", "interval": ""}
    sign = 1 if row["higher_is_better"] else -1
    ends = sorted(sign * one[end] for end in ("low", "high") if is_number(one[end]))
    interval = between(ends[0], ends[-1], row["metric"]) if len(ends) == 2 else "too few images for an interval"
    return {
        "difference": difference(sign * one["gain"], row["metric"]),
        "interval": interval.removeprefix("95% interval "),
    }


def _counted(rows: Sequence[Mapping[str, Any]]) -> str:
    counts = Counter(row["outcome"] for row in rows)
    return joined([f"{counts[outcome]} {COUNTED[outcome]}" for outcome in OUTCOMES if counts[outcome]])
