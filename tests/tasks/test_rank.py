from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.scratch import ROOT
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json
from pipeline_lib.encoders.encoder import from_config, save_model
from pipeline_lib.rank import DISTANCES, SCORES
from tasks.check import checked
from tests.tasks.project import (
    PARAMS,
    bytes_of,
    change_label,
    copied,
    drop_labels,
    ingested,
    pictures,
    run,
    shuffled,
    spec,
    write_params,
    write_pictures,
)

OUTPUTS = ("reports/rank.json", "metrics/rank.json")
# The target is "printed", dark on light, as "likewise" is; "drawn" is light on dark, "tiny" has three images.
DATASETS = {
    **PARAMS["datasets"],
    "likewise": spec("likewise", test_fraction=0.3),
    "tiny": spec("tiny"),
}
RECIPE = {"encoder": "small_cnn", "channels": 1, "size": 12, "mean": [0.2], "std": [0.2], "stem": None}
ENCODERS = {"other": {"encoder": "small_cnn", "weights": "other.safetensors"}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        folder = ingested(tmp_path_factory.mktemp("rank"), patch)
        images, labels = pictures(50, seed=7)
        write_pictures("likewise", 255 - images // 2, labels)
        images, labels = pictures(3, seed=8)
        write_pictures("tiny", images, labels)
        write_params(datasets=DATASETS)
        run("ingest")
        save_model(Path("weights"), from_config(RECIPE, 5).backbone, {})
        Path("weights/model.safetensors").rename("weights/other.safetensors")
        Path("weights/config.json").unlink()
        return folder


@pytest.fixture(autouse=True)
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(finished, tmp_path, monkeypatch)
    write(encoders=ENCODERS)


def write(
    *, datasets: Any = DATASETS, others: Any = None, encoders: Any = None, path: str = "weights", **rank: Any
) -> None:
    """Write params.yaml with these settings of the block, and encoders whose weights are in the folder ``path``."""
    compare = {"path": path, "encoders": encoders or {}}
    write_params(datasets=datasets, compare=compare, rank={"resamples": 3, **rank}, **(others or {}))


def ranked() -> dict[str, Any]:
    run("rank")
    return read_json(Path(OUTPUTS[0]))


def names(ranking: dict[str, Any]) -> list[str]:
    return [one["name"] for one in ranking["candidates"]]


def test_both_rankings_and_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    report = ranked()
    datasets, encoders = report["datasets"], report["encoders"]
    assert names(datasets) == ["likewise", "drawn"] and datasets["counted"] == list(DISTANCES)
    assert [one["in_source"] for one in datasets["candidates"]] == [False, True]
    assert set(names(encoders)) == {"pixels", "random", "other"} and encoders["label"] == "place"
    assert encoders["counted"] == [score for score in SCORES if score != "leep"]
    for ranking in (datasets, encoders):
        for one in ranking["candidates"]:
            assert one["low"] <= one["rank"] <= one["high"]
    probes = {one["name"]: one["scores"]["linear_probe"]["value"] for one in encoders["candidates"]}
    best = max(probes, key=lambda name: probes[name])
    (line,) = [line for line in report["lines"] if line.startswith("before any training")]
    assert f"a linear probe of 'place' is {probes[best]:.1%} on '{best}', " in line and line.count("%") == 3
    metrics = read_json(Path(OUTPUTS[1]))
    assert metrics["num_datasets"] == 2 and metrics["datasets.likewise"] == 1 and metrics["datasets.drawn"] == 2
    assert {f"encoders.{name}" for name in names(encoders)} == {key for key in metrics if key.startswith("encoders.")}
    said = capsys.readouterr().out
    assert all(sentence in said for sentence in report["lines"])
    assert "rank: 'tiny' is left out, having 3 images (or groups of them) where it takes 20" in said
    assert "the nearest to the target of 2 candidate sources, by pixels, is 'likewise'" in said
    assert "LEEP is not of the ranks, since it takes a classifier that pixels, random, other came without" in said


def test_the_same_sets_give_the_same_bytes() -> None:
    run("rank")
    first = bytes_of(*OUTPUTS)
    run("rank")
    assert bytes_of(*OUTPUTS) == first


def test_labels_of_the_test_split_and_of_the_sources_are_not_read() -> None:
    run("rank")
    before = bytes_of(*OUTPUTS)
    change_label("printed", "place", "test", shuffled)
    for dataset in ("drawn", "likewise"):
        for split in ("train", "test"):
            change_label(dataset, "place", split, shuffled)
    run("rank")
    assert bytes_of(*OUTPUTS) == before
    change_label("printed", "place", "train", shuffled)
    changed = ranked()
    assert bytes_of(*OUTPUTS) != before
    probe = [one["scores"]["linear_probe"]["value"] for one in changed["encoders"]["candidates"]]
    assert np.mean(probe) == pytest.approx(1 / 3, abs=0.2), "labels that say nothing give chance"


def test_one_dataset_and_no_weights_are_said_and_no_mistake() -> None:
    write(datasets=PARAMS["datasets"])
    report = ranked()
    assert report["datasets"] is None and report["encoders"] is None
    assert read_json(Path(OUTPUTS[1])) == {"num_datasets": 0, "num_encoders": 0}
    assert report["lines"] == [
        "datasets are not ranked: 'drawn' is the only one beside the target's",
        "encoders are not ranked: none with weights is named beside pixels and random ones: name some under "
        "compare.encoders",
    ]


def test_one_large_enough_is_none_to_rank() -> None:
    write(datasets={name: DATASETS[name] for name in ("drawn", "printed", "tiny")})
    assert "datasets are not ranked: it takes two that are large enough" in ranked()["lines"]


def test_a_target_without_labels_gets_its_sources_ranked_alone() -> None:
    drop_labels("printed", "place")
    report = ranked()
    assert report["encoders"] is None and names(report["datasets"]) == ["likewise", "drawn"]
    assert (
        "encoders are not ranked: the target's train split has 0 images (or groups of them) of 0 classes labelled "
        "'place', and it takes 20 of 2" in report["lines"]
    )
    write(encoders=ENCODERS, others={"labels": {"light": "regression"}, "primary": None})
    assert any("the primary label 'light' is regression" in sentence for sentence in ranked()["lines"])
    write(encoders=ENCODERS, others={"labels": {}, "primary": None})
    assert "encoders are not ranked: the block labels names none to rank them by" in ranked()["lines"]


def test_a_target_of_few_images_is_ranked_for_by_nothing() -> None:
    write(encoders=ENCODERS, others={"source": ["printed"], "target": ["tiny"]})
    report = ranked()
    assert report["datasets"] is None and report["encoders"] is None
    assert any("the target has 2 images" in sentence for sentence in report["lines"])


def test_given_weights_are_a_candidate_and_datasets_are_compared_by_them() -> None:
    given = {"pretrain": {"weights": "file", "weights_path": "weights/other.safetensors"}}
    write(features="given", others=given)
    report = ranked()
    assert report["datasets"]["features"] == "given"
    assert set(names(report["encoders"])) == {"pixels", "random", "given"}
    write(features="given")
    with pytest.raises(UserError, match=r"^rank in params\.yaml: features is 'given', but pretrain\.weights is random"):
        run("rank")


def test_leep_is_of_encoders_with_a_classifier() -> None:
    import timm

    torch.manual_seed(0)
    whole = timm.create_model("resnet10t", num_classes=4, in_chans=1)
    torch.save(whole.state_dict(), "weights/whole.pth")
    write(encoders={"whole": {"encoder": "resnet10t", "weights": "whole.pth", "size": 32}})
    values = {one["name"]: one["scores"]["leep"]["value"] for one in ranked()["encoders"]["candidates"]}
    assert values["pixels"] is None and values["random"] is None and -np.log(3) - 0.2 < values["whole"] < 0


MISTAKES = {
    "a missing file": ({"other": {"encoder": "small_cnn", "weights": "gone.pth"}}, r"encoders\.other.*gone\.pth.*not"),
    "an unknown encoder": (
        {"other": {"encoder": "small_cn", "weights": "other.safetensors"}},
        r"encoders\.other: encoder is 'small_cn'.*did you mean 'small_cnn'",
    ),
    "weights of another": (
        {"other": {"encoder": "resnet10t", "weights": "other.safetensors"}},
        r"encoders\.other: .*does not fit resnet10t",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_leaves_the_last_good_outputs(mistake: str) -> None:
    run("rank")
    before = bytes_of(*OUTPUTS)
    encoders, words = MISTAKES[mistake]
    write(encoders=encoders)
    with pytest.raises(UserError, match=rf"^compare in params\.yaml: {words}"):
        run("rank")
    assert bytes_of(*OUTPUTS) == before


def test_names_and_places_are_checked_before_anything_runs() -> None:
    Path("dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    for settings, words in (
        ({"features": "pixel"}, r"rank\.features is 'pixel'.*did you mean 'pixels'"),
        ({"encoders": {"random": ENCODERS["other"]}}, r"compare: encoders has the name 'random', which is taken"),
        ({"path": "gone", "encoders": ENCODERS}, r"compare\.path in params\.yaml is 'gone', which does not exist"),
        (
            {"encoders": MISTAKES["a missing file"][0]},
            r"compare in params\.yaml: encoders\.other\.weights is 'gone\.pth'",
        ),
        ({"encoders": MISTAKES["an unknown encoder"][0]}, r"compare\.encoders\.other.*did you mean 'small_cnn'"),
    ):
        write(**settings)
        with pytest.raises(UserError, match=words):
            checked()
