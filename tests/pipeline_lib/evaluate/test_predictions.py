import numpy as np
import pandas as pd
import pytest

from pipeline_lib.evaluate.predictions import Predictions


def table(classes: list[str | None], numbers: list[float], ids: tuple[str, ...] = ("x", "y", "z")) -> pd.DataFrame:
    parts = [
        {"label": "kind", "predicted_class": classes, "predicted_value": np.nan},
        {"label": "size", "predicted_class": None, "predicted_value": numbers},
    ]
    found = pd.concat(pd.DataFrame({"id": ids, "model": "one", **part}) for part in parts)
    return found.astype({"predicted_class": "string", "predicted_value": float})


def test_answers_lie_beside_the_ids_that_are_asked_for_one_draw_a_training() -> None:
    found = Predictions([table(["a", "b", "c"], [1.0, 2.0, 3.0]), table(["c", "b", "a"], [3.0, 2.0, 1.0])])
    ids = np.array(["z", "x"], dtype=object)
    assert [[list(draw) for draw in draws] for draws in found.answers("one", "kind", "multiclass", ids)] == [
        [["c", "a"]],
        [["a", "c"]],
    ]
    numbers = found.answers("one", "size", "regression", ids)
    assert [draws[0].tolist() for draws in numbers] == [[3.0, 1.0], [1.0, 3.0]]
    assert numbers[0][0].dtype == np.float64
    assert found.models == [("one", "kind"), ("one", "size")]


def test_an_image_without_an_answer_has_none() -> None:
    found = Predictions([table(["a", None, "c"], [1.0, 2.0, 3.0])])
    ids = np.array(["y", "not there", "x"], dtype=object)
    (draws,) = found.answers("one", "kind", "multiclass", ids)
    assert [pd.isna(value) for value in draws[0]] == [True, True, False]
    (draws,) = found.answers("one", "size", "regression", ids)
    np.testing.assert_array_equal(draws[0], [2, np.nan, 1])


def test_the_share_that_changed_is_the_mean_over_trainings_whatever_the_order_of_rows() -> None:
    first, second = table(["a", "b", "c"], [0.0] * 3), table(["a", "b", "a"], [0.0] * 3)
    tables = [
        pd.concat([one, other.assign(model="two").iloc[::-1]]) for one, other in ((first, second), (first, first))
    ]
    found = Predictions(tables)
    ids = np.array(["x", "y", "z"], dtype=object)
    assert found.changed("one", "two", "kind", ids) == pytest.approx(1 / 6)
    assert found.changed("one", "two", "kind", ids[:2]) in (0, 1 / 4)
    assert found.changed("one", "three", "kind", ids) is None


def test_no_predictions_are_no_models() -> None:
    empty = table(["a"], [0.0], ("x",)).iloc[:0]
    assert Predictions([empty, empty]).models == []
