from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json
from pipeline_lib.select import SELECTORS
from tests.tasks.project import (
    PARAMS,
    bytes_of,
    change_label,
    copied,
    ingested,
    pictures,
    read_table,
    run,
    shuffled,
    spec,
    write_params,
    write_pictures,
)

OUTPUTS = ("selection/source.parquet", "metrics/select.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return ingested(tmp_path_factory.mktemp("select"), patch)


@pytest.fixture(autouse=True)
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(finished, tmp_path, monkeypatch)


@pytest.mark.parametrize("method", sorted(SELECTORS))
def test_a_selection_is_ids_in_order_with_weights(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    size = None if method == "everything" else 25
    write_params(select={"method": method, "size": size})
    run("select")
    first = bytes_of(*OUTPUTS)
    table, metrics = pd.read_parquet(OUTPUTS[0]), read_json(Path(OUTPUTS[1]))
    known = [f"drawn/{name}" for name in read_table("drawn")["id"]]
    assert list(table.columns) == ["id", "weight"] and len(table) == (size or 60)
    assert list(table["id"]) == [name for name in known if name in set(table["id"])]
    assert (table["weight"] > 0).all() and table["weight"].mean() == pytest.approx(1)
    assert metrics["num_selected"] == len(table) and 0 < metrics["effective_sample_size_share"] <= 1 + 1e-9
    assert f"{len(table)} of 60 source images selected by '{method}'" in capsys.readouterr().out
    run("select")
    assert bytes_of(*OUTPUTS) == first


@pytest.mark.parametrize("method", sorted(SELECTORS))
def test_no_label_matters(method: str) -> None:
    write_params(select={"method": method, "size": 25 if method != "everything" else None})
    run("select")
    before = bytes_of(*OUTPUTS)
    for dataset in PARAMS["datasets"]:
        for split in ("train", "test"):
            change_label(dataset, "place", split, shuffled)
    run("select")
    assert bytes_of(*OUTPUTS) == before


def test_all_datasets_of_the_source_are_selected_from() -> None:
    images, _ = pictures(20, seed=5)
    write_pictures("more", images)
    write_params(
        datasets={**PARAMS["datasets"], "more": spec("more", labels=None)},
        source=["more", "drawn"],
        select={"method": "random", "size": 40},
    )
    run("ingest", "select")
    ids = pd.read_parquet(OUTPUTS[0])["id"]
    from_more = ids.str.startswith("more/")
    assert 0 < from_more.sum() < len(ids) == 40
    # In the order in which the source names its datasets.
    assert from_more.is_monotonic_decreasing


def test_meaningless_importance_weights_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    write_params(select={"method": "importance"})
    run("select")
    assert "warning: the importance weights mean little" in capsys.readouterr().out
    assert read_json(Path(OUTPUTS[1]))["weights_trusted"] == 0


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"method": "randomm"}, r"^select in params\.yaml: method is 'randomm'.*did you mean 'random'"),
        ({"method": "random", "size": 61}, r"^select in params\.yaml: size is 61"),
        ({"method": "balanced", "options": {"clusters": 3}}, r"options has no option 'clusters'"),
        ({"method": "balanced", "options": {"num_clusters": "x"}}, r"options\.num_clusters is 'x'"),
    ],
)
def test_mistakes_end_in_one_sentence_with_nothing_written(block: dict[str, Any], message: str) -> None:
    write_params(select=block)
    with pytest.raises(UserError, match=message):
        run("select")
    assert not any(Path(output).exists() for output in OUTPUTS)
