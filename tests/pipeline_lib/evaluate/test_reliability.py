from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.evaluate.predictions import Predictions
from pipeline_lib.evaluate.reliability import reliabilities
from pipeline_lib.labels import KINDS
from pipeline_lib.stats.calibration import by_chance, calibration_error
from tests.pipeline_lib.evaluate.toy import judge_of, right_share, task, truth
from tests.pipeline_lib.labels.examples import values_of

TRUTH = truth(200)
IDS = np.array([f"target/{row}" for row in range(200)], dtype=object)
CHANGED = [{"chosen": "coral"}, {"chosen": "source_only"}]


def told(sure: np.ndarray, share: float = 0.8) -> dict[str, Any]:
    """Return answers of which just this share is right."""
    answers = np.where(np.arange(200) < share * 200, TRUTH, right_share(TRUTH, 0))
    return {"predicted_class": answers, "confidence": sure}


def trainings(*of_models: dict[str, dict[str, Any]]) -> Predictions:
    return Predictions(
        [
            pd.concat(pd.DataFrame({"id": IDS, "model": model, "label": "label", **said}) for model, said in of.items())
            for of in of_models
        ]
    )


def diagrams(predictions: Predictions, choices: list[dict[str, str]] = CHANGED, **changed: Any) -> list[dict[str, Any]]:
    given = {"task": task(TRUTH), "judge": judge_of(TRUTH), **changed}
    return reliabilities(given["task"], given["judge"], predictions, IDS, "coral", choices, seed=0)


def test_a_confidence_that_is_right_is_within_chance_and_one_that_is_not_beyond() -> None:
    found = trainings({"source_only": told(np.full(200, 0.8)), "coral": told(np.full(200, 0.97))})
    before, after = diagrams(found)
    assert [one["model"] for one in (before, after)] == ["source_only", "coral"]
    assert before["calibration_error"] <= before["error_by_chance"]["high"]
    assert after["calibration_error"] > after["error_by_chance"]["high"] > after["error_by_chance"]["mean"]
    assert before["num_images"] == 200 and before["num_trainings"] == 1
    assert before["confidence"] == pytest.approx(0.8)
    (filled,) = (part for part in before["bins"] if part["num_answers"])
    assert filled["accuracy"] == before["accuracy"] and filled["low"] < 0.8 < filled["high"]
    assert len(before["bins"]) == 10 and before["bins"][7] is filled


def test_errors_are_means_over_trainings_whose_answers_share_the_bins() -> None:
    first, second = told(np.full(200, 0.8)), told(np.linspace(0.4, 1, 200), share=0.6)
    (one,) = diagrams(trainings({"source_only": first}, {"source_only": second}))
    errors = [calibration_error(each["confidence"], each["predicted_class"] == TRUTH) for each in (first, second)]
    assert one["calibration_error"] == pytest.approx(np.mean(errors))
    assert one["num_images"] == 200 and one["num_trainings"] == 2
    assert sum(part["num_answers"] for part in one["bins"]) == 400


def test_what_chance_shows_holds_95_of_100_draws() -> None:
    sure = np.linspace(0.4, 1, 200)
    (one,) = diagrams(trainings({"source_only": told(sure)}))
    drawn = by_chance(sure[None], judge_of(TRUTH).group_N, seed=0)
    assert one["error_by_chance"]["mean"] == pytest.approx(drawn.errors_S.mean())
    assert (drawn.errors_S <= one["error_by_chance"]["high"]).mean() == pytest.approx(0.95, abs=0.005)
    for part, right_S in list(zip(one["bins"], drawn.right_SB.T, strict=True))[4:]:
        assert ((part["low"] <= right_S) & (right_S <= part["high"])).mean() >= 0.95
        assert (right_S < part["low"]).mean() <= 0.025 and (right_S > part["high"]).mean() <= 0.025


def test_only_images_that_are_judged_enter() -> None:
    known = np.where(np.arange(200) < 60, None, TRUTH)
    said = told(np.full(200, 0.8))
    said["predicted_class"][:60] = "wrong"
    (one,) = diagrams(trainings({"source_only": said}), judge=judge_of(known))
    assert one["num_images"] == 140 and one["accuracy"] == (said["predicted_class"] == TRUTH)[60:].mean()


def test_where_the_model_is_handed_on_as_it_was_it_stands_alone() -> None:
    same = told(np.full(200, 0.8))
    found = trainings({"source_only": same, "coral": same})
    assert [one["model"] for one in diagrams(found, [{"chosen": "source_only"}] * 2)] == ["source_only"]


@pytest.mark.parametrize("kind", [None, *(kind for kind in KINDS if not KINDS[kind].has_classes)])
def test_without_classes_that_can_be_scored_there_is_no_diagram(kind: str | None) -> None:
    found = trainings({"source_only": told(np.full(200, 0.8))})
    values = values_of(kind) if kind else None
    judge, of = (judge_of(values, kind), task(values, kind)) if kind else (None, None)
    assert diagrams(found, judge=judge, task=of) == []
    assert diagrams(found, judge=judge_of(np.full(200, None, dtype=object), learn_from="nothing")) == []
