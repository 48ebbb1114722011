"""What is said, in hindsight, of a choice that was made without labels of the target."""

from typing import Any

import numpy as np
import pytest

from pipeline_lib.evaluate.adaptation import adaptation
from tests.pipeline_lib.evaluate.toy import judge_of, predictions_of, right_share, task, truth

TRUTH = truth(120)
IDS = np.array([f"id {row}" for row in range(120)], dtype=object)
SHARES = {"source_only": 0.6, "mcc": 0.9, "adabn": 0.5}


def choice(chosen: str, **changed: Any) -> dict[str, Any]:
    ranks = {"source_only": 2.0, "mcc": 1.0, "adabn": 3.0}
    return {"label": "kind", "chosen": chosen, "reason": "preferred", "scores": {}, "ranks": ranks, **changed}


def found(*choices: dict[str, Any], scored: bool = True) -> dict[str, Any]:
    values = TRUTH if scored else np.full(120, None, dtype=object)
    answers = {(model, "kind"): right_share(TRUTH, share) for model, share in SHARES.items()}
    predictions = predictions_of(answers, list(IDS))
    return adaptation(choices, task(TRUTH, name="kind"), judge_of(values, learn_from="nothing"), predictions, IDS)


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


def test_without_labels_of_the_target_nothing_is_known_in_hindsight() -> None:
    result = found(choice("mcc"), scored=False)
    assert result["metric"] is None
    assert all(row["value"] is row["difference"] is row["worst_class"] is None for row in result["candidates"])
    assert result["choices"][0]["oracle"] is result["choices"][0]["regret"] is None


def test_without_a_label_to_adapt_there_is_nothing_but_the_choice() -> None:
    (one,) = adaptation([choice("source_only", label=None, ranks={})], None, None, predictions_of({}, []), IDS)[
        "choices"
    ]
    assert one["chosen"] == "source_only" and one["regret"] is None
