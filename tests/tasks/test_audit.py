from functools import partial
from pathlib import Path

import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json
from tasks import audit, ingest
from tests.pipeline_lib.sets import squares
from tests.tasks.project import call, write_params, write_pictures

OUTPUTS = ("reports/audit.json", "metrics/audit.json")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, places = squares(60)
    write_pictures("source", images, places)
    write_pictures("target", 255 - squares(40, seed=1)[0])
    write_params()
    for role in ("source", "target"):
        call(partial(ingest.run, role=role), f"data/{role}")


def test_the_audit_reports_and_prints_its_findings(capsys: pytest.CaptureFixture[str]) -> None:
    call(audit.run, *OUTPUTS)
    report, metrics = (read_json(Path(output)) for output in OUTPUTS)
    assert set(report) == {"shift", "sets", "duplicates_across", "findings"}
    assert set(report["shift"]) == {"domain_auc", "proxy_a_distance", "mmd2", "mmd_p_value", "frechet_distance"}
    assert report["sets"]["target"]["labels"] == {}
    assert metrics["domain_auc"] == report["shift"]["domain_auc"] > 0.9
    assert all(isinstance(value, (int, float)) or value is None for value in metrics.values())
    said = capsys.readouterr().out
    assert all(f"{finding['level']}: {finding['sentence']}" in said for finding in report["findings"])


def test_a_refused_finding_stops_and_leaves_the_last_good_report(capsys: pytest.CaptureFixture[str]) -> None:
    call(audit.run, *OUTPUTS)
    before = [Path(output).read_bytes() for output in OUTPUTS]
    write_params(audit={"refuse": {"domain_auc": 0.9}})
    with pytest.raises(UserError, match=r"above audit\.refuse\.domain_auc = 0\.9 in params\.yaml"):
        call(audit.run, *OUTPUTS)
    assert [Path(output).read_bytes() for output in OUTPUTS] == before
    assert "blocking: a linear classifier" in capsys.readouterr().out


def test_the_same_sets_give_the_same_bytes() -> None:
    call(audit.run, *OUTPUTS)
    first = [Path(output).read_bytes() for output in OUTPUTS]
    call(audit.run, *OUTPUTS)
    assert [Path(output).read_bytes() for output in OUTPUTS] == first
