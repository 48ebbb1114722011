from pathlib import Path

import pytest

from pipeline_lib.core.files import write_csv, write_json, write_parquet, write_text
from pipeline_lib.data.dataset import write_dataset
from tasks import report
from tasks.params import PARAMS_FILE, read_params
from tasks.stage import Stage
from tests.pipeline_lib.report.inputs import make_inputs

PARAMS = """
source: {reader: folder, path: a}
target: {reader: folder, path: b}
labels: {kind: multiclass}
primary: kind
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_inputs(folder, labelled):
    inputs = make_inputs(labelled=labelled)
    for role in ("source", "target"):
        write_dataset(folder / "data" / role, inputs[role].images, inputs[role].table, inputs[role].card)
    write_json(folder / "reports/transfer.json", inputs["transfer"])
    write_json(folder / "reports/audit.json", inputs["audit"])
    write_parquet(folder / "reports/projection.parquet", inputs["projections"])
    write_parquet(folder / "predictions/adapt.parquet", inputs["predictions"])
    for stage, table in inputs["curves"].items():
        write_csv(folder / f"plots/{stage}.csv", table)
    for stage in ("transfer", "audit", "extra", "pretrain"):
        write_json(folder / f"metrics/{stage}.json", {f"{stage}_loss": 1.5})
    write_text(folder / PARAMS_FILE, PARAMS)


def render(folder):
    stage = Stage("report", read_params(), "0" * 16, (Path(report.PAGE),))
    report.run(stage)
    stage.publish()
    return (folder / report.PAGE).read_text(encoding="utf-8")


@pytest.mark.parametrize("labelled", [True, False])
def test_the_stage_writes_the_page(project, labelled):
    write_inputs(project, labelled)
    page = render(project)
    assert page.startswith("<!doctype html>")
    assert ("not measurable without labels" in page) != labelled
    assert "kind: multiclass" in page


def test_files_are_in_the_order_of_the_stages(project):
    write_inputs(project, True)
    page = render(project)
    found = [page.index(f"{stage}_loss") for stage in ("audit", "pretrain", "transfer", "extra")]
    assert found == sorted(found)
    assert page.index("loss of pretrain by epoch") < page.index("loss of heads by epoch")
