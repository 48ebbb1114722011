"""The stage on a made-up project: three classes, features that know them more or less well."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import write_json, write_npy, write_parquet
from pipeline_lib.data.dataset import write_dataset
from tasks import transfer
from tasks.params import Params
from tasks.stage import Stage

NAMES = ("pixels", "untrained", "pretrained", "supervised", "adapted")
OUTS = ("reports/transfer.json", "reports/projection.parquet", "metrics/transfer.json", "plots/label_efficiency.csv")
PARAMS = Params.model_validate(
    {
        "device": "cpu",
        "source": {"reader": "folder", "path": "a"},
        "target": {"reader": "folder", "path": "b"},
        "labels": {"kind": "multiclass", "size": "regression"},
        "primary": "kind",
        "transfer": {"labels_per_class": [1, 5], "repeats": 2, "neighbors": 8, "umap_dims": 3, "bootstrap": 100},
    }
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project up to the stage, in the working directory; the target has 90 images."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    classes = {role: np.arange(num) % 3 for role, num in (("source", 60), ("target", 90))}
    for role, numbers in classes.items():
        write_role(role, np.array(list("abc"), dtype=object)[numbers], rng.random(len(numbers)))
        for strength, name in enumerate(NAMES):
            features = rng.normal(size=(len(numbers), 6))
            features[np.arange(len(numbers)), numbers] += 2 * strength
            write_npy(Path(f"features/{role}/{name}.npy"), features.astype(np.float32))
    described = [{"name": name, "dim": 6, "what": name} for name in NAMES]
    write_json(Path("features/card.json"), {"representations": described})
    write_predictions("heads", classes["source"], ("multi_task", "single_task", "frozen", "scratch"), rng)
    write_predictions("adapt", classes["target"], ("source_only", "adabn", "shot_im"), rng)
    return tmp_path


def write_role(role, kinds, sizes):
    """Write a dataset with the given labels; a label of None is one that the dataset does not have."""
    num = len(kinds) if kinds is not None else 90
    table = pd.DataFrame(
        {
            "id": [f"{row:07d}" for row in range(num)],
            "path": "x.png",
            "sha256": "0",
            "split": ["train" if row // 3 % 2 else "test" for row in range(num)],
            "group": pd.array([None] * num, dtype="string"),
            "flags": "",
        }
    )
    labels = {}
    if kinds is not None:
        table["label.kind"] = pd.array(kinds, dtype="string")
        labels["kind"] = {"kind": "multiclass", "classes": sorted({kind for kind in kinds if kind is not None})}
    if sizes is not None:
        table["label.size"] = sizes
        labels["size"] = {"kind": "regression"}
    write_dataset(Path("data") / role, np.zeros((num, 4, 4, 1), np.uint8), table, {"labels": labels})


def write_predictions(name, numbers, models, rng):
    """Write predictions of which nine in ten classes are right."""
    tables = []
    for model in models:
        guess = np.where(rng.random(len(numbers)) < 0.9, numbers, rng.integers(3, size=len(numbers)))
        rows = {"id": [f"{row:07d}" for row in range(len(numbers))], "model": model}
        named = pd.array(np.array(list("abc"))[guess], dtype="string")
        tables.append(pd.DataFrame({**rows, "label": "kind", "predicted_class": named, "predicted_value": np.nan}))
        none = pd.array([None] * len(numbers), dtype="string")
        sizes = rng.random(len(numbers))
        tables.append(pd.DataFrame({**rows, "label": "size", "predicted_class": none, "predicted_value": sizes}))
    write_parquet(Path(f"predictions/{name}.parquet"), pd.concat(tables))


def run(name="out"):
    """Run the stage; return its report and what else it wrote, as bytes."""
    stage = Stage("transfer", PARAMS, name, tuple(map(Path, OUTS)))
    transfer.run(stage)
    stage.publish()
    return json.loads(Path(OUTS[0]).read_text()), {out: Path(out).read_bytes() for out in OUTS[1:]}


def kinds_of_target():
    return pd.read_parquet("data/target/table.parquet")["label.kind"].to_numpy(dtype=object)


def without_scores(report):
    """What of the report is known without any label of the target."""
    unsupervised = ("representation", "space", "clusterer", "silhouette", "num_clusters", "noise")
    return {
        "clusterings": [{key: row[key] for key in unsupervised} for row in report["clusterings"]],
        **{key: report[key] for key in ("projections", "shift", "heads", "representations", "num_images")},
    }


def test_the_report_is_whole_and_the_same_every_time(project):
    report, files = run()
    assert [row["kind"] for row in report["verdict"]] == ["self-taught", "multi-task", "transductive", "unsupervised"]
    assert len(report["lines"]) == 5
    assert report["num_images"] == {"source": 60, "target": 90}
    assert report["classes"] == ["a", "b", "c"]
    assert len(report["probes"]) == len(NAMES) * 2
    assert len(report["clusterings"]) == len(NAMES) * 2 * 2
    assert [row["representation"] for row in report["shift"]] == list(NAMES)
    assert all(0 <= row["accuracy"] <= 1 for row in report["clusterings"])
    layouts = pd.read_parquet("reports/projection.parquet")
    assert list(layouts) == ["id", "representation", "method", "x", "y"]
    assert len(layouts) == 90 * len(NAMES) * 2
    assert layouts["x"].dtype == np.float32
    flat = json.loads(Path("metrics/transfer.json").read_text())
    assert {"probe.pretrained.5", "clustering.umap.kmeans.pretrained.accuracy", "target_accuracy.shot_im"} <= set(flat)
    assert all(isinstance(value, (int, float)) for value in flat.values())
    curve = pd.read_csv("plots/label_efficiency.csv")
    assert list(curve) == ["representation", "labels_per_class", "accuracy", "low", "high"]
    again, other_files = run("again")
    assert again == report
    assert other_files == files


def test_labels_of_the_target_change_nothing_but_scores(project):
    report, files = run()
    write_role("target", np.random.default_rng(1).permutation(kinds_of_target()), None)
    shuffled, shuffled_files = run("shuffled")
    assert shuffled_files["reports/projection.parquet"] == files["reports/projection.parquet"]
    assert without_scores(shuffled) == without_scores(report)
    assert [row["accuracy"] for row in shuffled["clusterings"]] != [row["accuracy"] for row in report["clusterings"]]


def test_a_target_without_labels_is_described_and_not_scored(project):
    report, files = run()
    write_role("target", None, None)
    unlabelled, unlabelled_files = run("unlabelled")
    assert unlabelled_files["reports/projection.parquet"] == files["reports/projection.parquet"]
    assert without_scores(unlabelled) == without_scores(report)
    assert {row[score] for row in unlabelled["clusterings"] for score in ("accuracy", "nmi", "ari")} == {None}
    assert unlabelled["probes"] == unlabelled["adaptation"] == []
    outcomes = {row["kind"]: row["outcome"] for row in unlabelled["verdict"]}
    assert {kind for kind, outcome in outcomes.items() if outcome == "unknown"} == set(outcomes) - {"multi-task"}
    assert len(unlabelled["lines"]) == 5
    assert "no 'kind' labels" in unlabelled["lines"][0]


def test_a_partly_labelled_target_with_a_new_class_is_scored_where_it_can_be(project):
    kinds = kinds_of_target()
    kinds[60:] = None
    kinds[0] = "novel"  # in the test split
    write_role("target", kinds, None)
    report, _ = run()
    assert "judged by the 60 of 90 images" in report["lines"][0]
    assert "a class that the source does not have counts as wrong (1: novel)" in report["lines"][3]
    assert report["classes"] == ["a", "b", "c", "novel"]
    right = {row["model"]: row["value"] for row in report["adaptation"] if row["metric"] == "accuracy"}
    table = pd.read_parquet("predictions/adapt.parquet").query("model == 'shot_im' and label == 'kind'")
    assert right["shot_im"] == pytest.approx((table["predicted_class"].to_numpy()[:60] == kinds[:60]).mean())


def test_a_class_with_too_few_labels_is_refused_before_anything_takes_time(project, monkeypatch):
    kinds = kinds_of_target()
    kinds[(kinds == "b") & (np.arange(90) > 20)] = None
    write_role("target", kinds, None)
    monkeypatch.setattr(transfer, "structure", None)
    with pytest.raises(UserError, match=r"'b' .* 3 images .* transfer\.labels_per_class"):
        run()
