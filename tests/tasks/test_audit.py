from pathlib import Path

import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json
from tests.tasks.project import (
    PARAMS,
    bytes_of,
    change_label,
    copied,
    drop_labels,
    ingested,
    run,
    shuffled,
    write_params,
)

OUTPUTS = ("reports/audit.json", "reports/audit.html", "metrics/audit.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return ingested(tmp_path_factory.mktemp("audit"), patch)


@pytest.fixture(autouse=True)
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(finished, tmp_path, monkeypatch)


def test_the_audit_reports_and_prints_its_findings(capsys: pytest.CaptureFixture[str]) -> None:
    run("audit")
    report, metrics = (read_json(Path(output)) for output in OUTPUTS if output.endswith("json"))
    assert set(report["shift"]) == {"domain_auc", "proxy_a_distance", "mmd2", "mmd_p_value", "frechet_distance"}
    assert set(report["sets"]["target"]["labels"]) == {"place", "light"}
    assert metrics["domain_auc"] == report["shift"]["domain_auc"] > 0.9
    assert all(isinstance(value, (int, float)) or value is None for value in metrics.values())
    said = capsys.readouterr().out
    assert report["findings"]
    assert all(f"{finding['level']}: {finding['sentence']}" in said for finding in report["findings"])


def test_the_first_thing_said_is_what_applies_to_these_labels(capsys: pytest.CaptureFixture[str]) -> None:
    drop_labels("drawn", "light")
    drop_labels("printed", "place")
    run("audit")
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[0].split()) == "label kind source train/test target train/test learnt from what applies"
    assert "place" in lines[1] and "42/18" in lines[1] and "0/0" in lines[1] and "transductive" in lines[1]
    assert "light" in lines[2] and "30/30" in lines[2] and "inductive" in lines[2]
    assert lines[3].startswith("'place' is learnt from the source's 42 labelled training images; on the target only")


def test_no_label_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    write_params(labels={}, primary=None)
    run("audit")
    assert capsys.readouterr().out.startswith("No label is named: unsupervised: structure only.")


def test_where_a_label_is_to_be_learnt_it_has_to_be() -> None:
    write_params(labels={"light": {"kind": "regression", "learn_from": "target"}}, primary=None)
    drop_labels("printed", "light")
    with pytest.raises(UserError, match=r"^labels in params\.yaml: the label 'light' is to be learnt from target"):
        run("audit")
    assert not any(Path(output).exists() for output in OUTPUTS)


def test_a_refused_finding_stops_and_leaves_the_last_good_report(capsys: pytest.CaptureFixture[str]) -> None:
    run("audit")
    before = bytes_of(*OUTPUTS)
    write_params(audit={"refuse": {"domain_auc": 0.9}})
    with pytest.raises(UserError, match=r"^audit in params\.yaml: .*domain_auc.*0\.9"):
        run("audit")
    assert bytes_of(*OUTPUTS) == before
    assert "blocking: a linear classifier" in capsys.readouterr().out


def test_numbers_that_others_depend_on_do_not_depend_on_labels_of_the_target() -> None:
    run("audit")
    before = bytes_of("metrics/audit.json")
    for label in PARAMS["labels"]:
        for split in ("train", "test"):
            change_label("printed", label, split, shuffled)
    run("audit")
    assert bytes_of("metrics/audit.json") == before
    drop_labels("printed", *PARAMS["labels"])
    run("audit")
    assert bytes_of("metrics/audit.json") == before


def test_the_same_sets_give_the_same_bytes() -> None:
    run("audit")
    first = bytes_of(*OUTPUTS)
    run("audit")
    assert bytes_of(*OUTPUTS) == first
