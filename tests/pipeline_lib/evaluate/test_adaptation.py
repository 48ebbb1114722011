"""What is said, in hindsight, of a choice that was made without labels of the target."""

from typing import Any

import numpy as np
import pytest

from pipeline_lib.evaluate.adaptation import Bound, adaptation
from tests.pipeline_lib.evaluate.toy import judge_of, predictions_of, right_share, task, truth

TRUTH = truth(120)
IDS = {domain: np.array([f"{domain} {row}" for row in range(120)], dtype=object) for domain in ("source", "target")}
ON_SOURCE = {"source_only": 0.9, "mcc": 0.5, "adabn": 0.9}
SHARES = {"source_only": 0.6, "mcc": 0.9, "adabn": 0.5}


def choice(chosen: str, **changed: Any) -> dict[str, Any]:
    ranks = {"source_only": 2.0, "mcc": 1.0, "adabn": 3.0}
    return {"label": "kind", "chosen": chosen, "reason": "preferred", "scores": {}, "ranks": ranks, **changed}


def found(*choices: dict[str, Any], scored: bool = True, bound: Bound | None = None) -> dict[str, Any]:
    values = TRUTH if scored else np.full(120, None, dtype=object)
    answers = {
        (model, "kind"): np.concatenate([right_share(TRUTH, share) for share in (ON_SOURCE[model], SHARES[model])])
        for model in SHARES
    }
    predictions = predictions_of(answers, [*IDS["source"], *IDS["target"]])
    judges = {"source": judge_of(TRUTH), "target": judge_of(values, learn_from="nothing")}
    return adaptation(choices, task(TRUTH, name="kind"), judges, predictions, IDS, bound)


@pytest.mark.parametrize(("chosen", "lost"), [("mcc", 0.0), ("source_only", 0.3), ("adabn", 0.4)])
def test_regret_is_what_is_lost_against_the_best(chosen: str, lost: float) -> None:
    (one,) = found(choice(chosen))["choices"]
    assert one["oracle"] == "mcc"
    assert one["regret"] == pytest.approx(lost, abs=0.13)


def test_candidates_stand_beside_the_model_before() -> None:
    result = found(choice("mcc"))
    rows = {row["model"]: row for row in result["candidates"]}
    assert list(rows) == list(SHARES) and result["metric"] == "balanced_accuracy"
    assert rows["source_only"]["difference"] == 0 and rows["source_only"]["worst_class"] == 0
    for model, share in SHARES.items():
        assert rows[model]["value"] == pytest.approx(share, abs=0.13)
        assert rows[model]["difference"] == pytest.approx(rows[model]["value"] - rows["source_only"]["value"])
    assert rows["adabn"]["worst_class"] <= rows["adabn"]["difference"] < 0
    assert [rows[model]["chosen"] for model in SHARES] == [0, 1, 0]
    assert rows["mcc"]["rank"] == 1


def test_what_is_forgotten_on_the_source_and_how_much_of_the_gap_is_closed() -> None:
    rows = {row["model"]: row for row in found(choice("mcc"), bound=Bound(0.95, 50))["candidates"]}
    assert rows["source_only"]["on_source"] == rows["source_only"]["recovered"] == 0
    assert rows["mcc"]["on_source"] == pytest.approx(-0.4, abs=0.13)
    before, after = rows["source_only"]["value"], rows["mcc"]["value"]
    assert rows["mcc"]["recovered"] == pytest.approx((after - before) / (0.95 - before))
    assert rows["adabn"]["recovered"] < 0


def test_where_labels_of_the_target_reach_no_more_there_is_no_gap() -> None:
    result = found(choice("mcc"), bound=Bound(0.2, 5))
    assert all(row["recovered"] is None for row in result["candidates"]) and result["bound"]["labels_per_class"] == 5


def test_without_labels_of_the_target_nothing_is_known_in_hindsight() -> None:
    result = found(choice("mcc"), scored=False)
    assert result["metric"] is None
    assert all(row["value"] is row["difference"] is row["worst_class"] is None for row in result["candidates"])
    assert all(row["recovered"] is None and row["on_source"] is not None for row in result["candidates"])
    assert result["choices"][0]["oracle"] is result["choices"][0]["regret"] is None


def test_without_a_label_to_adapt_there_is_nothing_but_the_choice() -> None:
    (one,) = adaptation([choice("source_only", label=None, ranks={})], None, {}, predictions_of({}, []), IDS)["choices"]
    assert one["chosen"] == "source_only" and one["regret"] is None
