"""Was pretraining worth it? For each label the answer as a sentence, the curves, and a row for every alternative."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.report.charts import Series, line_chart, linear_axis, log_axis
from pipeline_lib.report.reasons import briefly
from pipeline_lib.report.words import (
    between,
    capital,
    clean,
    count,
    difference,
    is_number,
    joined,
    metric,
    named,
    quoted,
    runs,
    score,
    significant,
    some,
)

Record = Mapping[str, Any]
METHOD, CONSTANT = "pretrained", "constant"
ANSWERS = {
    "worth": ("helped", "worth it"),
    "not_worth": ("harmed", "not worth it"),
    "unclear": ("unclear", "cannot be told"),
}
NOT_ASKED = ("not_measurable", "not measurable")
CLAIMS = {"better": "helped", "worse": "harmed"}
# The parts of a table, in their order, and what its readers must know of them.
PARTS = {
    "method": "",
    "alternative": "Instead of pretraining",
    "built_on": "Pretraining, and then labels of the source",
    "told": "Trained with all labels of the target's training images: few labels are not few for these",
}


def worth_section(evaluation: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the answer of each label with its curves and table; ``metrics`` are keyed by stage and seed."""
    seen = [metrics[name] for seed in evaluation["seeds"] if (name := f"pretrain/{seed}") in metrics]
    known = [one for one in seen if is_number(one.get("images")) and is_number(one.get("epochs"))]
    return {
        "labels": [_label(one, evaluation) for one in evaluation["worth"]],
        "seen": {key: known[0][key] for key in ("images", "epochs")} if known else None,
        "representations": evaluation["representations"],
    }


def worth_sentence(label: Record, evaluation: Mapping[str, Any]) -> str:
    """Say whether pretraining was worth it for one label, or why that cannot be known."""
    name, seeds = quoted(label["label"]), runs(len(evaluation["seeds"]))
    if label["answer"] is None:
        return f"Whether pretraining was worth it for {name} cannot be measured: {briefly(label)}."
    others = [row for row in label["rows"] if row["role"] == "alternative"]
    average = f"on average over {label['labels'][0]:,} to {label['labels'][-1]:,} labels of the target"
    if len(label["labels"]) == 1:
        average = f"with {count(label['labels'][0], 'label')} of the target"
    taught = ", which the source has no label of, so that this is self-taught learning," if label["self_taught"] else ""
    if label["answer"] == "worth":
        nearest = min(others, key=lambda row: row["gain"])
        told = (
            f"Pretraining on the source was worth it for {name}{taught} {seeds}: {average}, a probe on "
            f"{named(METHOD)} is better than all that needs no pretraining, of which {_rival(nearest, label)} is "
            "nearest."
        )
        return told + _saved(nearest, label)
    if label["answer"] == "not_worth":
        ahead = sorted((row for row in others if row["claim"] == "worse"), key=lambda row: row["gain"])
        told = (
            f"Pretraining on the source was not worth it for {name}{taught} {seeds}: {average}, a probe on "
            f"{named(METHOD)} is worse than {some(_rival(row, label) for row in ahead)}."
        )
        return told + _saved(ahead[0], label)
    unbeaten = sorted((row for row in others if row["claim"] != "better"), key=lambda row: row["gain"])
    return (
        f"Whether pretraining on the source was worth it for {name}{taught} cannot be told {seeds}: {average}, a probe "
        f"on {named(METHOD)} is not clearly better than {some([_rival(row, label) for row in unbeaten], 'or')}."
    )


def _called(name: str) -> str:
    """Return the words for an alternative: from scratch it takes the source's labels, without which it is none."""
    return "an encoder trained from scratch on the source's labels" if name == "scratch" else named(name)


def _rival(row: Record, label: Record) -> str:
    """Return an alternative with how far it is ahead of pretraining, or behind."""
    of, side = label["metric"], 1 if row["gain"] >= 0 else -1
    ends = sorted(side * row[end] for end in ("low", "high") if is_number(row[end]))
    parts = [difference(side * row["gain"], of).lstrip("+"), between(ends[0], ends[-1], of) if ends else ""]
    if row["claim"] is None and ends and ends[0] > 0:
        parts.append("which is not enough among all labels and alternatives")
    return f"{_called(row['name'])} ({'behind' if side > 0 else 'ahead'} by {', '.join(filter(None, parts))})"


def _saved(row: Record, label: Record) -> str:
    """Say how many labels an alternative needs for what pretraining reaches with the declared number, if it is told."""
    one = next((one for one in row["needed"] if one["labels"] == label["declared"]), None)
    if one is None:
        return ""
    own, constant = (
        next(score(at["value"], label["metric"]) for at in each["scores"] if at["labels"] == label["declared"])
        for name in (METHOD, CONSTANT)
        for each in label["rows"]
        if each["name"] == name
    )
    interval = _interval(one, label)
    return (
        f" For the {metric(label['metric']).words} of {own} that pretraining reaches with "
        f"{count(label['declared'], 'label')}, where {named(CONSTANT)} has {constant}, {_called(row['name'])} takes "
        f"{_labels(one['value'], label)}"
        f"{f' (95% interval {interval})' if interval else ''}."
    )


def _labels(value: float | None, label: Record) -> str:
    """Return a number of labels, as far as the numbers tried can tell it."""
    first, last = label["labels"][0], label["labels"][-1]
    if value is None:
        return f"more than the {last:,} tried" if first < last else f"more than {last:,}"
    return f"{first:,} or fewer" if value <= first else f"about {significant(round(value))}"


def _interval(one: Record, label: Record) -> str:
    if one["interval"] is None or set(one["interval"]) <= {one["value"]}:
        return ""
    low, high = (
        f"more than {label['labels'][-1]:,}" if end is None else significant(round(end)) for end in one["interval"]
    )
    return f"{low} to {high}" if low != high else ""


def _label(label: Record, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    outcome, said = ANSWERS.get(label["answer"], NOT_ASKED)
    found = {"label": label["label"], "outcome": outcome, "said": said, "sentence": worth_sentence(label, evaluation)}
    if not label["rows"]:
        return {**found, "parts": []}
    parts = [
        {"said": PARTS[role], "rows": [_row(row, label) for row in label["rows"] if row["role"] == role]}
        for role in PARTS
    ]
    said_metric = metric(label["metric"]).words
    return {
        **found,
        "metric": said_metric,
        "better": "more is better" if label["higher_is_better"] else "less is better",
        "budgets": list(zip(label["labels"], label["amounts"], label["short"], strict=True)),
        "declared": label["declared"],
        "short": any(label["short"]),
        "by_class": label["amounts"][0] != label["labels"][0],
        "parts": [part for part in parts if part["rows"]],
        "drawing": _chart(label, f"{capital(said_metric)} on {clean(label['label'])}"),
    }


def _row(row: Record, label: Record) -> dict[str, Any]:
    of = label["metric"]
    needed = next((one for one in row["needed"] if one["labels"] == label["declared"]), None)
    return {
        "name": row["name"],
        "shown": named(row["name"]) if row["name"] == CONSTANT else row["name"],
        "outcome": CLAIMS.get(row["claim"] or "", ""),
        "scores": [
            {
                "value": score(one["value"], of),
                "interval": f"{score(one['low'], of)} to {score(one['high'], of)}" if is_number(one["low"]) else "",
            }
            for one in row["scores"]
        ],
        "gain": difference(row["gain"], of) if is_number(row["gain"]) else "",
        "interval": between(row["low"], row["high"], of).removeprefix("95% interval "),
        "needed": _labels(needed["value"], label).removeprefix("about ") if needed else "",
        "needed_interval": _interval(needed, label) if needed else "",
    }


def _chart(label: Record, title: str) -> Any:
    """Draw the curves; the constant answer is a dashed line from end to end."""
    lines = [_series(row, label["short"]) for row in label["rows"] if row["name"] != CONSTANT]
    x = log_axis(value for line in lines for value in line.x)
    constant = [row["scores"][0]["value"] for row in label["rows"] if row["name"] == CONSTANT]
    lines += [Series(CONSTANT, [x.low, x.high], [value] * 2, plain=True) for value in constant]
    y = linear_axis(value for line in lines for value in (*line.y, *line.low, *line.high))
    told = f"{title} against the number of labels, one line a representation"
    return line_chart(told, lines, x, y, height=260, x_label="labels", marks=True)


def _series(row: Record, short: Sequence[bool]) -> Series:
    scores = row["scores"]
    has_band = all(is_number(one[end]) for one in scores for end in ("low", "high"))
    low, high = ([one[end] for one in scores] if has_band else [] for end in ("low", "high"))
    return Series(
        row["name"], [one["labels"] for one in scores], [one["value"] for one in scores], low, high, hollow=list(short)
    )


def worth_lines(evaluation: Mapping[str, Any]) -> list[str]:
    """Return the line of the verdict on the primary label, and on how many others pretraining was worth it."""
    measured = [one for one in evaluation["worth"] if one["answer"]]
    primary = [one for one in measured if one["label"] == evaluation["primary"]]
    if not primary:
        return []
    others = [one for one in measured if one is not primary[0]]
    counts = [
        f"it {'was ' if answer != 'unclear' else ''}{ANSWERS[answer][1]} for {some(quoted(one['label']) for one in of)}"
        for answer in ANSWERS
        if (of := [one for one in others if one["answer"] == answer])
    ]
    rest = f" Of the other labels: {joined(counts)}." if counts else ""
    return [f"Worth it: {worth_sentence(primary[0], evaluation)}{rest}"]
