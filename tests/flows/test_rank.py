from pathlib import Path

from pipeline_lib.core.files import read_json
from tests.toy import call, make_project


def test_the_ranking_needs_no_more_than_what_is_ingested(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    first = call(project, "flows", "rank")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("params.yaml is valid\n")
    report = read_json(project / "reports/rank.json")
    assert "\n".join(report["lines"]) in first.stdout.split("Updating lock file")[-1]
    assert {path.name for path in project.iterdir() if path.is_dir() and not path.name.startswith(".")} == {
        *("datasets", "metrics", "reports", "pictures", "flows", "tasks", "pipeline_lib"),
    }
    again = call(project, "flows", "rank")
    assert again.returncode == 0 and "Running stage" not in again.stdout
