from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipeline_lib.core.files import write_parquet
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


def test_probabilities_lie_beside_the_ids_and_are_there_for_all_or_for_none(tmp_path: Path) -> None:
    given = table(["a", "b", "c"], [1.0, 2.0, 3.0])
    lists = [[0.75, 0.25], [0.5, 0.5], [0.25, 0.75], None, None, None]
    given["probabilities"] = pd.array(lists, dtype=pd.ArrowDtype(pa.list_(pa.float32())))
    write_parquet(tmp_path / "table.parquet", given)
    found = Predictions([pd.read_parquet(tmp_path / "table.parquet")] * 2)
    first, second = found.probabilities("one", "kind", np.array(["z", "x"], dtype=object))
    assert first is not None and first.dtype == np.float32
    np.testing.assert_array_equal(first, [[0.25, 0.75], [0.75, 0.25]])
    np.testing.assert_array_equal(first, second)
    nothing = [None, None]
    assert found.probabilities("one", "size", np.array(["z", "x"], dtype=object)) == nothing
    assert found.probabilities("one", "kind", np.array(["z", "not there"], dtype=object)) == nothing
    assert found.probabilities("one", "kind", np.array([], dtype=object)) == nothing


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
