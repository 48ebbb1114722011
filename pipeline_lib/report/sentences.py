"""The verdict in words: one sentence for each kind of transfer, made from evaluation.json and nothing else.

The outcome of a comparison is settled before it comes here, and a sentence says no more than it: "helped" stands where
every baseline is beaten, "did harm" where the reference is better, and elsewhere the baselines that do as well are
named. A score never stands without that of a constant answer beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.report.headline import headline
from pipeline_lib.report.phrases import (
    DECLARED_CLUSTERING,
    action,
    against,
    brief,
    holder,
    in_hindsight,
    measured,
    rivals,
)
from pipeline_lib.report.reasons import caveats, reason
from pipeline_lib.report.words import (
    capital,
    clean,
    clustering,
    count,
    is_number,
    named,
    quoted,
    runs,
    score,
    signed_percent,
    some,
)
from pipeline_lib.report.worth import worth_lines, worth_sentence

Row = Mapping[str, Any]
KINDS = ("self-taught", "multi-task", "transductive", "unsupervised")
OUTCOMES = ("helped", "harmed", "unclear", "not_measurable")
MOST_WITH_SCORES = 6  # labels in one sentence
VERBS = {"helped": "helped", "harmed": "did harm", "unclear": "made no clear difference"}


def verdict_summary(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what reports/verdict.json holds."""
    worth = [
        {**{key: one[key] for key in ("label", "answer")}, "sentence": worth_sentence(one, evaluation)}
        for one in evaluation["worth"]
    ]
    return {"lines": lines(evaluation), "entries": entries(evaluation), "worth": worth}


def lines(evaluation: Mapping[str, Any]) -> list[str]:
    """Return the headline, one line for each kind of transfer, and whether pretraining was worth it."""
    told = [f"{capital(kind)}: {sentence}" for kind, sentence in kind_sentences(evaluation).items()]
    return [headline(evaluation), *told, *worth_lines(evaluation)]


def entries(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each comparison with its own sentence and its gain over the reference, the first of its baselines."""
    return [_entry(row, evaluation) for kind in KINDS for row in of_kind(evaluation, kind)]


def kind_sentences(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """Return, for each kind of transfer that was evaluated, what became of it over all labels."""
    return {kind: _kind(rows, evaluation) for kind in KINDS if (rows := of_kind(evaluation, kind))}


def of_kind(evaluation: Mapping[str, Any], kind: str) -> list[Row]:
    """Return the comparisons of one kind of transfer."""
    return [row for row in evaluation["comparisons"] if row["kind"] == kind]


def outcome_of(rows: Sequence[Row]) -> str:
    """Return the outcome that all measurable comparisons share, or "mixed"."""
    found = {row["outcome"] for row in rows} - {"not_measurable"}
    return "not_measurable" if not found else found.pop() if len(found) == 1 else "mixed"


def _entry(row: Row, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    reference: Mapping[str, Any] = next(iter(row["baselines"]), {})
    return {
        **{key: row[key] for key in ("kind", "label", "outcome", "value", "metric", "method")},
        "sentence": _sentence([row], evaluation),
        **{key: reference.get(key) for key in ("gain", "low", "high")},
        "baseline": reference.get("name"),
        "baseline_value": reference.get("value"),
    }


def _kind(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    """Say what became of one kind: of its only label in full, of several by counting and naming them."""
    known = [row for row in rows if row["outcome"] != "not_measurable"]
    if len(rows) == 1 or (not known and len({row["reason"] for row in rows}) == 1):
        return _sentence(rows, evaluation) + _delta_m(rows[0], evaluation)
    seeds = f", {runs(known[0]['num_seeds'])}," if known else ""
    parts = [_group(outcome, rows) for outcome in OUTCOMES if any(row["outcome"] == outcome for row in rows)]
    told = f"{action((known or rows)[0], evaluation)}{seeds} {'; '.join(parts)}."
    return told + _delta_m(rows[0], evaluation) + caveats(known)


def _sentence(rows: Sequence[Row], evaluation: Mapping[str, Any]) -> str:
    """Say what became of one comparison, or why several of one kind and for one reason were not made."""
    row = rows[0]
    if row["outcome"] == "not_measurable":
        return f"{reason(rows, evaluation)}.{_without_labels(row, evaluation)}"
    told = f"{action(row, evaluation)} {VERBS[row['outcome']]} {runs(row['num_seeds'])}"
    has = f"{holder(row, evaluation)} has {measured(row)}"
    return f"{told}: {has}; that is {against(row)}.{in_hindsight(row, evaluation)}{caveats(rows)}"


def _group(outcome: str, rows: Sequence[Row]) -> str:
    """Return the part of a sentence about the labels of one outcome, with their scores unless there are many."""
    of = [row for row in rows if row["outcome"] == outcome]
    many = len(rows) > MOST_WITH_SCORES
    items = some(quoted(row["label"]) + ("" if many else f" ({brief(row)})") for row in of)
    if outcome == "not_measurable":
        return f"cannot be measured on {items}"
    if outcome == "unclear":
        unbeaten = dict.fromkeys(named(one["name"], row["metric"]) for row in of for one in rivals(row))
        return f"made no clear difference to {items}" + (
            f", not clearly beating {some(unbeaten, 'or')}" if many else ""
        )
    return f"{'helped' if outcome == 'helped' else 'did harm to'} {len(of)} of {count(len(rows), 'label')}: {items}"


def _delta_m(row: Row, evaluation: Mapping[str, Any]) -> str:
    found = evaluation["delta_m"]
    if row["kind"] != "multi-task" or not found or not is_number(found["value"]):
        return ""
    ends = [signed_percent(found[end]) for end in ("low", "high") if is_number(found[end])]
    interval = f"95% interval {' to '.join(ends)}; " if len(ends) == 2 else ""
    return f" Delta-m on errors is {signed_percent(found['value'])} ({interval}above zero is less error)."


def _without_labels(row: Row, evaluation: Mapping[str, Any]) -> str:
    """Return what can be said of a comparison that no label scores."""
    changed = row["details"].get("changed")
    if row["kind"] == "transductive" and is_number(changed):
        return f" {capital(clean(row['method']))} changed the answer for {score(changed, 'accuracy')} of the images."
    shown = [
        f"{one['silhouette']:.2f} on {named(one['representation'])}"
        for one in evaluation["clusterings"]
        if row["kind"] == "unsupervised"
        and (one["space"], one["clusterer"]) == DECLARED_CLUSTERING
        and one["representation"] in ("pretrained", "pixels")
        and is_number(one["silhouette"])
    ]
    declared = clustering(*DECLARED_CLUSTERING)
    return f" The silhouette of {declared}, which needs no labels (1 is tight), is {some(shown)}." if shown else ""
