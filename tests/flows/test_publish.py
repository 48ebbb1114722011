import io
import json
import re
import shutil
from dataclasses import fields
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from prefect import flow, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort

from flows.publish import artifacts as publish
from flows.publish import report
from flows.publish.artifacts import Progress, key, verdict_markdown
from flows.publish.compare import publish_comparison
from flows.publish.picture import COLOURS, HIGH, LOW, draw_map
from flows.repo.plan import PlannedStage
from pipeline_lib.data.roles import Role

ENTRY = {
    "kind": "multi-task", "label": "digit", "method": "heads", "baseline": "single_task", "metric": "accuracy",
    "value": 0.9, "baseline_value": None, "gain": 0.1, "low": 0.05, "high": 0.15, "outcome": "helped",
    "sentence": "It helped.",
}  # fmt: skip
UNKNOWN = {
    **dict.fromkeys(ENTRY), "kind": "self-taught", "method": "simclr", "metric": "accuracy",
    "outcome": "not_measurable", "sentence": "It could not be measured.",
}  # fmt: skip


def test_the_verdict_says_its_lines_and_its_numbers():
    text = verdict_markdown({"lines": ["Headline", "one", "two"], "entries": [UNKNOWN, ENTRY]})
    assert text.splitlines()[:4] == ["**Headline**", "", "- one", "- two"]
    header, rule, unknown, row = text.splitlines()[-4:]
    assert header.count("|") == rule.count("|") == row.count("|") == unknown.count("|") == 7
    assert unknown == "| self-taught | not measurable | - | - | simclr | accuracy |"
    assert row == (
        "| multi-task, digit | helped | 0.100 (0.050 to 0.150) | 0.900, baseline - | heads, baseline single_task "
        "| accuracy |"
    )


def test_names_from_files_are_no_markup():
    evil = "<img src=x onerror=alert(1)>|[a](javascript:b)"
    text = verdict_markdown({"lines": [evil], "entries": [{**ENTRY, "method": evil}]})
    assert "<img" not in text
    assert "](javascript" not in text.replace("\\[a]", "")
    assert text.splitlines()[-1].replace("\\|", "").count("|") == 7


NUM = 301
PLACES = np.repeat([[0, 10], [0, 0], [10, 0], [5, 5]], [100, 100, 100, 1], axis=0)


@pytest.fixture
def projection(tmp_path):
    """The file of a map with three blobs and one image between them."""
    place = PLACES + np.random.default_rng(0).normal(0, 0.3, (NUM, 2))
    parts = [
        pd.DataFrame({"id": ids(), "representation": name, "method": method, "x": place[:, 0], "y": place[:, 1]})
        for name in ("pixels", "adapted")
        for method in ("pca", "umap")
    ]
    pd.concat(parts).to_parquet(tmp_path / "projection.parquet")
    return tmp_path / "projection.parquet"


def ids():
    """The blobs are in two datasets."""
    return [f"{'left' if index < 200 else 'right'}/image{index}" for index in range(NUM)]


def target(values):
    """A target whose label `kind` has these values, its images in another order than the map's."""
    table = pd.DataFrame({"id": ids(), "label.kind": values}).iloc[::-1]
    return Role("target", None, table, {})


def pixels_of(data):
    assert len(data) < 200_000
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)[:, :560]


def centre(pixels, colour):
    return np.argwhere(np.abs(pixels - colour).sum(axis=2) < 40).mean(axis=0)


def test_the_map_colours_classes_where_they_lie(projection):
    names = pd.array([*np.repeat(["10", "a", "b"], 100), None], dtype="string")
    pixels = pixels_of(draw_map(projection, target(names), "kind"))
    # "10" lies above "a", which lies left of "b".
    (row_10, column_10), (row_a, column_a), (row_b, column_b) = (centre(pixels, colour) for colour in COLOURS[:3])
    assert row_10 < row_a - 100
    assert abs(column_10 - column_a) < 20
    assert column_a < column_b - 100
    assert abs(row_a - row_b) < 20


def test_the_map_colours_numbers_from_low_to_high(projection):
    values = [*np.repeat([0.0, 5.0, 10.0], 100), np.nan]
    pixels = pixels_of(draw_map(projection, target(values), "kind"))
    (row_low, _), (row_high, column_high) = centre(pixels, LOW), centre(pixels, HIGH)
    assert row_low < row_high - 100
    assert column_high > 280


@pytest.mark.parametrize("label", ["kind", None])
def test_a_target_without_labels_has_a_grey_map(projection, label):
    pixels = pixels_of(draw_map(projection, target([None] * NUM), label))
    assert (pixels.max(axis=2) - pixels.min(axis=2)).max() < 10


def test_progress_is_published_now_and_then_and_at_the_end(monkeypatch):
    shares, lines = [], []
    monkeypatch.setattr(publish, "create_progress_artifact", lambda share, **_: shares.append(share) or "artifact")
    monkeypatch.setattr(publish, "update_progress_artifact", lambda _, share, **__: shares.append(share))
    progress = Progress("pretrain", lines.append)
    progress.finish()
    assert shares == [], "a stage that told nothing has no progress to show"
    for done in range(1, 91):
        progress.show({"event": "progress", "label": "epochs", "done": done, "total": 100, "metrics": {"loss": 0.25}})
    progress.finish()
    assert shares == [1.0, 100]
    assert lines == ["epochs: 1 of 100, loss 0.25"]


@pytest.mark.parametrize("stage", ["ingest@mnist", "pretrain@0", "Stage.2", "fée"])
def test_keys_are_what_prefect_takes(stage):
    assert set(key(stage, "metrics")) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def artifact(*parts):
    """The latest artifact of the project in the working directory with this key."""
    with get_client(sync_client=True) as client:
        chosen = ArtifactFilter(key=ArtifactFilterKey(any_=[key(*parts)]))
        (found,) = client.read_artifacts(artifact_filter=chosen, sort=ArtifactSort.CREATED_DESC, limit=1)
        return found


def stage(**parts):
    """A stage that left something."""
    nothing = {field.name: () for field in fields(PlannedStage)}
    return PlannedStage(**{**nothing, "name": "odd", "meta": {}, "prediction": "cached", **parts})


def test_metrics_of_every_format_and_kind_are_shown(api, project):
    Path("a.yaml").write_text("loss: 0.123456\nof: {digit: {f1: .inf}}\nsizes: [1, 2]\nnone: null\nday: 2026-01-02\n")
    Path("b.toml").write_text("[head]\nbest = 3\n")
    for file in ("a.yaml", "b.toml"):
        publish.publish(stage(metrics=(file,)), None)
        rows = json.loads(artifact("odd", "metrics").data)
        found = {row["metric"]: row["value"] for row in rows}
        if file == "a.yaml":
            assert found == {"loss": 0.1235, "of.digit.f1": "inf", "sizes": "[1, 2]", "none": None, "day": "2026-01-02"}
        else:
            assert found == {"head.best": 3}


def test_pictures_of_a_stage_are_shown_unless_they_are_large(api, project):
    for name, size in (("curve.PNG", 10), ("map.svg", 10), ("large.jpg", 300_001)):
        Path(name).write_bytes(b"x" * size)
    publish.publish(stage(outs=("curve.PNG", "map.svg", "large.jpg", "folder")), None)
    assert artifact("curve.PNG").data.startswith("data:image/png;base64,eHh4")
    assert artifact("map.svg").data.startswith("data:image/svg+xml;base64,")
    with pytest.raises(ValueError, match="not enough values"):
        artifact("large.jpg")


def test_two_projects_on_a_server_do_not_mix(api, project, monkeypatch):
    other = project.with_name("other")
    shutil.copytree(project, other)
    for folder, value in ((project, 1.0), (other, 2.0), (project, 3.0)):
        monkeypatch.chdir(folder)
        Path("m.json").write_text(json.dumps({"loss": value, "nothing": None}))
        publish_comparison([stage(metrics=("m.json",))], {}, "nightly", uuid4())
    rows = {row["metric"]: row for row in json.loads(artifact("metrics", "nightly").data)}
    assert rows["m.json:loss"] == {"metric": "m.json:loss", "value": 3.0, "last": 1.0, "change": 2.0}
    # A metric that is null is none that went down, until it was a number before.
    assert rows["m.json:nothing"]["value"] is None


def test_pages_are_kept_with_their_run_and_linked_where_the_server_is_ours(api, project, monkeypatch):
    for name in ("audit", "report"):
        Path(f"{name}.html").write_text(f"<p>{name}</p>")
    monkeypatch.setenv("PREFECT_HOME", str(project / ".graftline/prefect"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(report, "MOST_PAGES", 4)

    @flow
    def run():
        links = []
        for name in ("audit", "report"):
            report.publish_page(Path(f"{name}.html"), key(name))
            links.append(artifact(name).data)
        return links

    runs = [run(), run(), run()]
    names = [[re.fullmatch(r"\[\w+\.html\]\(/report/([0-9a-f-]{36})\)", link)[1] for link in links] for links in runs]
    kept = {file.stem: file.read_text() for file in (project / ".graftline/prefect/reports").iterdir()}
    assert kept == {
        name: f"<p>{page}</p>" for run in names[1:] for page, name in zip(("audit", "report"), run, strict=True)
    }
    # The browser of another server's user may be anywhere.
    monkeypatch.setenv("PREFECT_API_URL", api)
    run()
    assert artifact("report").data == f"`{project / 'report.html'}`, on the machine that ran it"
    assert len(list((project / ".graftline/prefect/reports").iterdir())) == 4
