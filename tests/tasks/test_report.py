"""The stage on made-up results; tests/tasks/test_evaluate.py has it on real ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.files import read_json, write_csv, write_json, write_parquet
from tests.pipeline_lib.report.evaluations import make_evaluation
from tests.tasks.project import bytes_of, change_label, copied, drop_labels, ingested, read_table, run, shuffled

PAGE = Path("reports/report.html")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose datasets are ingested and audited, and whose other results are invented."""
    with pytest.MonkeyPatch.context() as patch:
        folder = ingested(tmp_path_factory.mktemp("report"), patch, primary="place")
        run("audit", "select")
        ids = "printed/" + read_table("printed")["id"]
        evaluation = make_evaluation()
        write_json(Path("reports/evaluation.json"), {**evaluation, "primary": "place", "classes": ["at 0", "at 1"]})
        layout = {"representation": "pixels", "method": "pca", "x": np.arange(60.0), "y": 0.0}
        write_parquet(Path("reports/projection.parquet"), pd.DataFrame({"id": ids, **layout}))
        answers = {"model": "shot_im", "label": "place", "predicted_class": "at 0", "predicted_value": np.nan}
        for seed in evaluation["seeds"]:
            write_parquet(Path(f"predictions/adapt/{seed}.parquet"), pd.DataFrame({"id": ids, **answers}))
        for stage in ("heads", "pretrain", "adapt"):
            for seed in (0, 1, 9):
                write_csv(Path(f"plots/{stage}/{seed}.csv"), pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5]}))
                write_json(Path(f"metrics/{stage}/{seed}.json"), {f"{stage}_{seed}_loss": 1.5})
        write_json(Path("metrics/evaluate.json"), {"evaluate_number": 1.5})
        return folder


@pytest.fixture(autouse=True)
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(finished, tmp_path, monkeypatch)


def render() -> str:
    run("report")
    return PAGE.read_text(encoding="utf-8")


def test_the_stage_writes_the_page_and_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    page = render()
    assert page.startswith("<!doctype html>") and "pictures/drawn" in page
    verdict = read_json(Path("reports/verdict.json"))
    assert set(verdict) == {"lines", "entries", "worth"}
    said = capsys.readouterr().out
    assert all(line in said for line in verdict["lines"])
    assert f"{PAGE}: {PAGE.stat().st_size / 1e6:.1f} MB" in said


def test_files_are_in_the_order_of_the_stages_and_of_present_trainings_only() -> None:
    page = render()
    names = ["num_selected", "pretrain_0_loss", "heads_0_loss", "adapt_0_loss", "evaluate_number"]
    found = [page.index(name) for name in names]
    assert found == sorted(found)
    assert "pretrain_9_loss" not in page and "heads/9" not in page


def test_what_was_selected_is_said() -> None:
    assert "60 of 60 source images selected by &#39;everything&#39;." in render()


def test_without_labels_of_the_target_there_is_a_page_too() -> None:
    drop_labels("printed", "place", "light")
    assert render().startswith("<!doctype html>")


def test_the_verdict_does_not_read_labels() -> None:
    render()
    before = bytes_of("reports/verdict.json")
    for split in ("train", "test"):
        change_label("printed", "place", split, shuffled)
    render()
    assert bytes_of("reports/verdict.json") == before


def test_the_same_results_give_the_same_bytes() -> None:
    render()
    first = bytes_of("reports")
    render()
    assert bytes_of("reports") == first
