import numpy as np
import pandas as pd
import pytest

from pipeline_lib.report.target_map import target_map
from tests.pipeline_lib.report.evaluations import make_evaluation, make_task
from tests.pipeline_lib.report.inputs import make_inputs


def make_map(kind, values=None, predicted=None, classes=("cat", "dog"), primary="kind"):
    inputs = make_inputs()
    target, predictions = inputs["target"], inputs["predictions"]
    if values is not None:
        target.table["label.kind"] = values
    if predicted is not None:
        predictions = predictions.assign(predicted_class=None, predicted_value=predicted)
    evaluation = make_evaluation([], [make_task("kind", kind)], primary, classes=classes)
    return target_map(evaluation, target, inputs["projections"], predictions, "shot_im", 100, 0)


@pytest.mark.parametrize("kind", ["multiclass", "binary", "ordinal"])
def test_classes_colour_the_map(kind):
    found = make_map(kind)
    assert found["classes"] == ["cat", "dog"]
    assert found["truth"] == [0, 1] * 6
    assert found["predicted"] == found["truth"]
    assert found["exact"]


def test_numbers_colour_it_in_round_steps():
    values = np.linspace(0, 4, 12)
    values[3] = np.nan
    found = make_map("regression", values, np.linspace(0.5, 6, 12), classes=())
    assert found["classes"] == ["0 to 2", "2 to 4", "4 to 6"]
    assert found["truth"] == [int(value // 2) if value == value else -1 for value in values]
    assert max(found["predicted"]) == 2, "the largest number is in the last step"
    assert len(found["colours"]) == 3
    assert not found["exact"]


@pytest.mark.parametrize(("kind", "primary"), [("multilabel", "kind"), ("multiclass", None)])
def test_without_classes_it_has_no_colours(kind, primary):
    found = make_map(kind, primary=primary)
    assert found["classes"] == []
    assert set(found["truth"]) | set(found["predicted"]) == {-1}


def test_a_label_that_the_target_lacks_is_coloured_by_what_is_predicted():
    found = make_map("multiclass", pd.array([None] * 12, "string"))
    assert set(found["truth"]) == {-1}
    assert found["predicted"] == [0, 1] * 6
    assert found["layouts"][0]["note"] == "What pixels is. Trustworthiness 0.900, continuity 0.800"


def test_where_no_adapter_is_handed_on_the_model_before_it_speaks():
    inputs = make_inputs()
    predictions = inputs["predictions"].assign(model="source_only")
    evaluation = make_evaluation([], [make_task("kind")], "kind", classes=("cat", "dog"))
    found = target_map(evaluation, inputs["target"], inputs["projections"], predictions, "none", 100, 0)
    assert found["model"] == "source_only"
    assert found["predicted"] == [0, 1] * 6
