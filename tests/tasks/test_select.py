from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json
from pipeline_lib.select import SELECTORS
from tasks import ingest, select
from tests.pipeline_lib.sets import squares
from tests.tasks.project import call, write_params, write_pictures

OUTPUTS = ("data/selection.parquet", "metrics/select.json")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, places = squares(60)
    write_pictures("source", images, places)
    write_pictures("target", 255 - squares(40, seed=1)[0])
    write_params()
    for role in ("source", "target"):
        call(partial(ingest.run, role=role), f"data/{role}")


@pytest.mark.parametrize("method", sorted(SELECTORS))
def test_a_selection_is_ids_in_order_with_weights(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    size = None if method == "everything" else 25
    write_params(select={"method": method, "size": size})
    call(select.run, *OUTPUTS)
    first = [Path(output).read_bytes() for output in OUTPUTS]
    table, metrics = pd.read_parquet(OUTPUTS[0]), read_json(Path(OUTPUTS[1]))
    known = list(pd.read_parquet("data/source/table.parquet")["id"])
    assert list(table.columns) == ["id", "weight"] and len(table) == (size or 60)
    assert list(table["id"]) == [name for name in known if name in set(table["id"])]
    assert (table["weight"] > 0).all() and table["weight"].mean() == pytest.approx(1)
    assert metrics["num_selected"] == len(table) and 0 < metrics["effective_sample_size_share"] <= 1 + 1e-9
    assert f"{len(table)} of 60 source images selected by '{method}'" in capsys.readouterr().out
    call(select.run, *OUTPUTS)
    assert [Path(output).read_bytes() for output in OUTPUTS] == first


def test_meaningless_importance_weights_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    write_params(select={"method": "importance"})
    call(select.run, *OUTPUTS)
    assert "warning: the importance weights mean little" in capsys.readouterr().out
    assert read_json(Path(OUTPUTS[1]))["weights_trusted"] == 0


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"method": "randomm"}, r"select\.method in params\.yaml is 'randomm'.*did you mean 'random'"),
        ({"method": "random", "size": 61}, r"select\.size in params\.yaml is 61"),
        ({"method": "balanced", "options": {"clusters": 3}}, r"select\.options\.clusters is not an option"),
        ({"method": "balanced", "options": {"num_clusters": "x"}}, r"select\.options\.num_clusters is 'x'"),
    ],
)
def test_mistakes_end_in_one_sentence_with_nothing_written(block: dict, message: str) -> None:
    write_params(select=block)
    with pytest.raises(UserError, match=message):
        call(select.run, *OUTPUTS)
    assert not any(Path(output).exists() for output in OUTPUTS)
