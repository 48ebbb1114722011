"""The tables of what was measured, as the plain values that their template lays out."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline_lib.report.headline import SOURCE_ONLY
from pipeline_lib.report.reasons import KEPT
from pipeline_lib.report.sentences import kind_sentences
from pipeline_lib.report.tables import by_model, distinct, marked, projection_quality
from pipeline_lib.report.words import MINUS, capital, clean, difference, is_number, joined, metric, named, score

Record = Mapping[str, Any]


def results(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of what was measured, and a sentence for each that does not apply."""
    clusterings = evaluation["clusterings"]
    found = [row["ari"] for row in clusterings if is_number(row["ari"])]
    return {
        "domains": [_domain(name, records) for name, records in _domains(evaluation)],
        # Rows are marked, in hindsight, only if some clustering is better than chance at all.
        "clusterings": marked(clusterings, ("ari",) if found and max(found) > 0 else ()),
        "are_scored": bool(found),
        "projections": projection_quality(evaluation["projections"]),
        "methods": distinct(evaluation["projections"], "method"),
        "shift": evaluation["shift"],
        "told": {kind: capital(sentence) for kind, sentence in kind_sentences(evaluation).items()},
        "adaptation": _adaptation(evaluation),
        "use": evaluation["use"],
        "handed_on": _handed_on(evaluation["strategies"]),
    }


def _handed_on(choices: Sequence[Record]) -> str:
    """Return by which strategies the models were trained that were handed on; empty where no label is learnt."""
    names = [one["chosen"] for one in choices if one["chosen"]]
    told = [f"{clean(name)} in {names.count(name)} of {len(names)} trainings" for name in dict.fromkeys(names)]
    how = " on images held back" if any(one["reason"] == "validation" for one in choices) else ""
    return (joined(told) if len(told) > 1 else clean("".join(names[:1]))) + (f", the best{how}" if how else "")


def _adaptation(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how the adapter was chosen, training by training, or None where none was."""
    found = evaluation["adaptation"]
    choices = [one for one in found["choices"] if one["ranks"]]
    if not choices:
        return None
    sign = -1 if found["metric"] and not found["higher_is_better"] else 1
    bound = found["bound"]
    scorers = distinct([{"name": name} for one in choices[0]["scores"].values() for name in one], "name")
    regrets = [one["regret"] for one in choices if one["regret"] is not None]
    return {
        "label": found["label"],
        "metric": metric(found["metric"]).words if found["metric"] else None,
        "rows": [
            {
                **row,
                "shown": named(row["model"]) if row["model"] == SOURCE_ONLY else row["model"],
                "score": score(row["value"], found["metric"] or ""),
                "change": difference(sign * row["difference"], found["metric"])
                if row["difference"] is not None
                else "",
                "worst": difference(row["worst_class"], "accuracy") if row["worst_class"] is not None else "",
                "on_source": difference(sign * row["on_source"], found["metric"])
                if row["on_source"] is not None and found["metric"]
                else "",
                "recovered": f"{row['recovered']:.0%}".replace("-", MINUS) if row["recovered"] is not None else "",
            }
            for row in found["candidates"]
        ],
        "scorers": scorers,
        "forgot": distinct([{"name": name} for one in choices for name in one["forgot"]], "name"),
        "silent": [
            name for name in scorers if not any(is_number(one["scores"][SOURCE_ONLY].get(name)) for one in choices)
        ],
        "bound": {**bound, "score": score(bound["value"], found["metric"])} if bound and found["metric"] else None,
        "choices": [
            {
                **one,
                "why": capital(KEPT[one["reason"]]),
                "shown": named(one["chosen"]),
                "oracle_shown": named(one["oracle"] or ""),
            }
            for one in choices
        ],
        "regret": difference(sum(regrets) / len(regrets), found["metric"]).lstrip("+") if regrets else None,
        "seeds": evaluation["seeds"],
    }


def _domains(evaluation: Mapping[str, Any]) -> list[tuple[str, list[Record]]]:
    """Return the scores of the target, of each of its datasets where there are several, and of the source."""
    records = [row for row in evaluation["scores"] if is_number(row["value"])]
    names = sorted(distinct(records, "domain"), key=lambda name: {"target": 0, "source": 2}.get(name, 1))
    return [(name, [row for row in records if row["domain"] == name]) for name in names]


def _domain(name: str, records: Sequence[Record]) -> dict[str, Any]:
    table = by_model(records)
    rows = [{**row, "metric": metric(row["metric"]).words} for row in table["rows"]]
    return {
        "name": name,
        "models": table["models"],
        "main": [row for row in rows if row["main"]],
        "others": [row for row in rows if not row["main"]],
    }
