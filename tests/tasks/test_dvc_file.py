"""What DVC makes of dvc.yaml beside its stages: the figures that it draws, and the artifacts that have a name."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from benchmarks.scratch import ROOT, copy_project, environment
from tests.toy import edit_params

CURVES = {
    "pretrain": "epoch,loss\n1,0.5\n2,0.25\n",
    "heads": "model,epoch,loss\nfrozen,1,0.5\nscratch,1,0.25\n",
    "adapt": "method,epoch,loss\nmcc,1,0.5\nshot_im,1,0.25\n",
}
PROBES = "representation,labels_per_class,metric,value\npixels,1,accuracy,0.5\nstart,1,accuracy,0.25\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with two seeds, and the tables that a run leaves for figures."""
    folder = copy_project(tmp_path_factory.mktemp("project"), ROOT / "params.yaml")
    shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots")
    edit_params(folder, lambda params: params.update(seeds=[3, 7]))
    for stage, table in CURVES.items():
        (folder / "plots" / stage).mkdir(parents=True)
        for seed in (3, 7):
            (folder / f"plots/{stage}/{seed}.csv").write_text(table)
    (folder / "plots/label_efficiency.csv").write_text(PROBES)
    return folder


def test_every_table_is_one_figure_with_a_title_and_a_line_for_each_model(project: Path) -> None:
    command = [sys.executable, "-m", "dvc", "plots", "show", "--json"]
    done = subprocess.run(command, cwd=project, env=environment(project), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert "errors" not in shown
    figures = {name.removeprefix("dvc.yaml::"): figure["content"] for name, (figure,) in shown["data"].items()}
    tables = [f"plots/{stage}/{seed}.csv" for stage in CURVES for seed in (3, 7)]
    assert sorted(figures) == sorted([*tables, "plots/label_efficiency.csv"])
    for name, figure in figures.items():
        columns, *rows = (line.split(",") for line in (project / name).read_text().splitlines())
        assert [[row[column] for column in columns] for row in figure["data"]["values"]] == rows
        assert {figure["encoding"][axis]["field"] for axis in "xy"} <= set(columns)
        assert figure["title"] and figure["title"] != name
        grouped = {"model", "method", "representation"} & set(columns)
        assert all(f"datum.{column}" in figure["transform"][0]["calculate"] for column in grouped)


def test_artifacts_are_what_stages_leave(project: Path) -> None:
    with Repo(str(project)) as repo:
        artifacts = repo.artifacts.read()["dvc.yaml"]
        outs = {out.def_path for stage in repo.index.stages for out in stage.outs}
    assert {artifact.path for artifact in artifacts.values()} <= outs
    assert artifacts["encoder"].path == "models/encoder/3"
    assert set(artifacts) == {"encoder", "heads", "adapted", "report"}
