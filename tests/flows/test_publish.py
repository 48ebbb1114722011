import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from flows import publish
from flows.picture import COLOURS, draw_map
from flows.publish import Progress, verdict_markdown
from pipeline_lib.data.dataset import write_dataset

ENTRY = {
    "kind": "self-taught", "method": "simclr", "baseline": "pixels", "metric": "accuracy", "value": 0.9,
    "baseline_value": None, "gain": 0.1, "low": 0.05, "high": 0.15, "outcome": "positive", "sentence": "It helped.",
}  # fmt: skip


def test_the_verdict_says_its_lines_and_its_numbers():
    text = verdict_markdown({"lines": ["Headline", "one", "two"], "verdict": [ENTRY]})
    assert text.splitlines()[:4] == ["**Headline**", "", "- one", "- two"]
    header, rule, row = text.splitlines()[-3:]
    assert header.count("|") == rule.count("|") == row.count("|") == 7
    assert row == (
        "| self-taught | positive | 0.100 (0.050 to 0.150) | 0.900, baseline - | simclr, baseline pixels | accuracy |"
    )


def test_names_from_files_are_no_markup():
    evil = "<img src=x onerror=alert(1)>|[a](javascript:b)"
    text = verdict_markdown({"lines": [evil], "verdict": [{**ENTRY, "method": evil}]})
    assert "<img" not in text
    assert "](javascript" not in text.replace("\\[a]", "")
    assert text.splitlines()[-1].replace("\\|", "").count("|") == 7


@pytest.fixture
def tables(tmp_path):
    """The files of a map with three blobs, one for each class, and one image without a class."""
    rng = np.random.default_rng(0)
    ids = [f"image{index}" for index in range(301)]
    names = [*np.repeat(["10", "a", "b"], 100), None]
    place = np.repeat([[0, 10], [0, 0], [10, 0], [5, 5]], [100, 100, 100, 1], axis=0) + rng.normal(0, 0.3, (301, 2))
    parts = [
        pd.DataFrame({"id": ids, "representation": name, "method": method, "x": place[:, 0], "y": place[:, 1]})
        for name in ("pixels", "adapted")
        for method in ("pca", "umap")
    ]
    pd.concat(parts).to_parquet(tmp_path / "projection.parquet")
    table = pd.DataFrame({"id": ids, "label.kind": pd.array(names, dtype="string")})
    table[["path", "sha256", "split", "group", "flags"]] = ""
    card = {"labels": {"kind": {"classes": ["10", "a", "b"]}}}
    write_dataset(tmp_path / "target", np.zeros((301, 1, 1, 1), np.uint8), table, card)
    return tmp_path / "projection.parquet", tmp_path / "target"


def test_the_map_colours_classes_where_they_lie(tables):
    data = draw_map(*tables, "kind")
    assert len(data) < 200_000
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)[:, :560]
    # "10" lies above "a", which lies left of "b".
    centres = [np.argwhere(np.abs(pixels - colour).sum(axis=2) < 40).mean(axis=0) for colour in COLOURS[:3]]
    (row_10, column_10), (row_a, column_a), (row_b, column_b) = centres
    assert row_10 < row_a - 100
    assert abs(column_10 - column_a) < 20
    assert column_a < column_b - 100
    assert abs(row_a - row_b) < 20


def test_a_target_without_labels_has_a_grey_map(tables):
    image = Image.open(io.BytesIO(draw_map(*tables, "no such label"))).convert("RGB")
    pixels = np.asarray(image, dtype=int)[:, :560]
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


@pytest.mark.parametrize("stage", ["ingest_source", "Stage.2", "fée"])
def test_keys_are_what_prefect_takes(stage):
    assert set(publish._key(stage, "metrics")) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
