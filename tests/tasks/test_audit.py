from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline_lib.audit.errors import suspected_errors
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json
from pipeline_lib.encoders.encoder import from_config, save_model
from pipeline_lib.encoders.representation import Representation
from tasks.roles import read_both
from tasks.settings import read_settings
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
RECIPE = {"encoder": "small_cnn", "channels": 1, "size": 12, "mean": [0.2], "std": [0.2], "stem": None}
MINE = {"encoder": "small_cnn", "weights": "mine.safetensors"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        folder = ingested(tmp_path_factory.mktemp("audit"), patch)
        save_model(Path("weights"), from_config(RECIPE, 5).backbone, {})
        Path("weights/model.safetensors").rename("weights/mine.safetensors")
        return folder


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


def judge_by(features: str, **encoders: Any) -> None:
    write_params(audit={"features": features}, compare={"path": "weights", "encoders": encoders or {"mine": MINE}})


@pytest.mark.parametrize("role", [0, 1])
def test_label_errors_are_those_by_the_features_of_a_named_encoder(role: int) -> None:
    from tasks.audit import Settings

    for dataset in PARAMS["datasets"]:
        change_label(dataset, "place", "train", lambda values: [*values[:6][::-1], *values[6:]])
    run("audit")
    by_pixels = read_json(Path(OUTPUTS[0]))
    judge_by("mine")
    run("audit")
    by_mine = read_json(Path(OUTPUTS[0]))
    roles = read_both(read_settings(Settings), ["place"])
    # A file says no mean and spread, so they are the target's own.
    encoder = from_config({**RECIPE, "mean": roles[1].mean, "std": roles[1].std}, 5)
    sets = [(one.images, np.arange(len(one))) for one in roles]
    features = Representation(encoder).components(sets, 0, torch.device("cpu"), "features")
    one = roles[role]
    expected = suspected_errors(features[role], one.label("place"), one.table["key"].to_numpy(dtype=str), 0)
    ids = one.table["id"].to_numpy()[expected.doubtful[:20]].tolist()
    found = by_mine["sets"][one.name]["label_errors"]["place"]
    assert [worst["id"] for worst in found["worst"]] == ids and found["doubtful"] == len(expected.doubtful) > 0
    assert found != by_pixels["sets"][one.name]["label_errors"]["place"]
    assert by_mine["features"]["name"] == "mine" and by_mine["shift"] == by_pixels["shift"]
    assert by_mine["features"]["shift"].keys() == by_mine["shift"].keys()
    assert "images most like theirs by the features of mine." in Path(OUTPUTS[1]).read_text()


def test_the_same_features_give_the_same_bytes() -> None:
    judge_by("mine")
    run("audit")
    first = bytes_of(*OUTPUTS)
    run("audit")
    assert bytes_of(*OUTPUTS) == first
    assert read_json(Path(OUTPUTS[2]))["features_domain_auc"] is not None


def test_without_a_named_encoder_no_weights_are_read_and_no_device_is_asked_for() -> None:
    write_params(device="cuda:99", compare={"path": "weights", "encoders": {"gone": {**MINE, "weights": "gone.pth"}}})
    run("audit")
    assert read_json(Path(OUTPUTS[0]))["features"] == {"name": "pixels", "shift": None}


def test_a_mistake_in_the_encoder_is_one_sentence_and_leaves_the_last_good_report() -> None:
    judge_by("mine")
    run("audit")
    before = bytes_of(*OUTPUTS)
    broken = from_config(RECIPE, 5).backbone
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(1e30)
    torch.save(broken.state_dict(), "weights/broken.pth")
    for features, encoder, words in (
        ("min", MINE, r"audit in params\.yaml: features is 'min', which is neither pixels nor .*did you mean 'mine'"),
        ("mine", {**MINE, "weights": "gone.pth"}, r"compare in params\.yaml: encoders\.mine\.weights is 'gone\.pth'"),
        (
            "mine",
            {**MINE, "encoder": "small_vit"},
            r"compare in params\.yaml: encoders\.mine: .*does not fit small_vit",
        ),
        (
            "mine",
            {**MINE, "weights": "broken.pth"},
            r"compare in params\.yaml: encoders\.mine: the features .*not finite",
        ),
    ):
        judge_by(features, mine=encoder)
        with pytest.raises(UserError, match=rf"^{words}"):
            run("audit")
        assert bytes_of(*OUTPUTS) == before
