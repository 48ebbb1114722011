from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.scratch import ROOT
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json, write_parquet
from pipeline_lib.encoders.encoder import from_config, save_model
from pipeline_lib.select import LABELLED, SELECTORS
from tasks.check import checked
from tests.tasks.project import (
    PARAMS,
    bytes_of,
    change_label,
    copied,
    drop_labels,
    ingested,
    pictures,
    read_table,
    run,
    shuffled,
    spec,
    write_params,
    write_pictures,
)

OUTPUTS = ("selection/source.parquet", "metrics/select.json", "reports/select.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return ingested(tmp_path_factory.mktemp("select"), patch)


@pytest.fixture(autouse=True)
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(finished, tmp_path, monkeypatch)


def select(**block: Any) -> tuple[set[str], dict[str, Any]]:
    """Run the stage with these settings; return the selected ids and the metrics."""
    write_params(select=block)
    run("select")
    return set(pd.read_parquet(OUTPUTS[0])["id"]), read_json(Path(OUTPUTS[1]))


def ids(dataset: str, rows: Any) -> set[str]:
    return set(f"{dataset}/" + read_table(dataset)["id"].iloc[rows])


@pytest.mark.parametrize("method", sorted(SELECTORS))
def test_a_selection_is_ids_in_order_with_weights(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    size = None if method == "everything" else 25
    _, metrics = select(method=method, size=size)
    first, table = bytes_of(*OUTPUTS), pd.read_parquet(OUTPUTS[0])
    known = [f"drawn/{name}" for name in read_table("drawn")["id"]]
    assert list(table.columns) == ["id", "weight"] and len(table) == (size or 60)
    assert list(table["id"]) == [name for name in known if name in set(table["id"])]
    assert (table["weight"] > 0).all() and table["weight"].mean() == pytest.approx(1)
    assert metrics["num_selected"] == len(table) and 0 < metrics["effective_sample_size_share"] <= 1 + 1e-9
    assert metrics["num_source"] == 60 and metrics["share.drawn"] == pytest.approx(1)
    said = capsys.readouterr().out
    assert f"select: {len(table)} of 60 source images selected by '{method}'" in said
    assert all(f"select: {line}" in said for line in read_json(Path(OUTPUTS[2]))["lines"])
    run("select")
    assert bytes_of(*OUTPUTS) == first


@pytest.mark.parametrize("method", sorted(SELECTORS))
def test_no_label_matters_but_those_asked_for(method: str) -> None:
    select(method=method, size=25 if method != "everything" else None)
    before = bytes_of(*OUTPUTS)
    for dataset, split in (("printed", "train"), ("printed", "test"), ("drawn", "test")):
        change_label(dataset, "place", split, shuffled)
    run("select")
    assert bytes_of(*OUTPUTS) == before
    change_label("drawn", "place", "train", shuffled)
    run("select")
    assert (bytes_of(*OUTPUTS) == before) is (method not in LABELLED)


@pytest.mark.parametrize("method", sorted(SELECTORS))
def test_a_source_without_labels_is_selected_from_by_all_that_need_none(method: str) -> None:
    drop_labels("drawn", "place")
    block = {"method": method, "size": 25 if method != "everything" else None}
    if method in LABELLED:
        with pytest.raises(
            UserError, match=r"^select in params\.yaml: no image of the source's train split has a 'pla"
        ):
            select(**block)
    else:
        chosen, _ = select(**block)
        assert len(chosen) == (block["size"] or 60)


def test_methods_that_go_by_a_label_choose_of_the_train_split() -> None:
    chosen, metrics = select(method="class_balanced", size=30)
    table = read_table("drawn").assign(id=lambda table: "drawn/" + table["id"]).set_index("id").loc[list(chosen)]
    assert set(table["split"]) == {"train"} and set(table["label.place"].value_counts()) == {10}
    assert metrics["num_candidates"] == (read_table("drawn")["split"] == "train").sum()


def test_all_datasets_of_the_source_are_selected_from(capsys: pytest.CaptureFixture[str]) -> None:
    images, _ = pictures(20, seed=5)
    write_pictures("more", images)
    write_params(
        datasets={**PARAMS["datasets"], "more": spec("more", labels=None)},
        source=["more", "drawn"],
        select={"method": "random", "size": 40},
    )
    run("ingest", "select")
    chosen, metrics = pd.read_parquet(OUTPUTS[0])["id"], read_json(Path(OUTPUTS[1]))
    from_more = chosen.str.startswith("more/")
    assert 0 < from_more.sum() < len(chosen) == 40
    # In the order in which the source names its datasets.
    assert from_more.is_monotonic_decreasing
    assert metrics["share.more"] == pytest.approx(from_more.mean()) and metrics["share.drawn"] < 1
    assert f"by dataset: more {from_more.mean():.0%}, drawn" in capsys.readouterr().out


def test_meaningless_importance_weights_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    _, metrics = select(method="importance")
    said = capsys.readouterr().out
    assert "warning: the importance weights mean little" in said and "told apart with an area under" in said
    assert metrics["weights_trusted"] == 0


def test_a_choice_that_is_none_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    select(method="nearest")
    assert "warning: size is null, so 'nearest' keeps every candidate" in capsys.readouterr().out


def test_copies_leaks_and_wrong_labels_go_before_anything_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    tested = [int(row) for row in read_table("printed").query("split == 'test'")["id"]]
    of_target, _ = pictures(60, seed=1)
    images, labels = pictures(90, seed=11)
    places = np.array(labels["place"])
    images[80:83] = images[:3]
    images[83:86] = 255 - of_target[tested[:3]]
    images[86:89] = of_target[:3]
    places[10:14] = np.roll(places[10:14], 1)
    write_pictures("left", images, {"place": places.tolist()})
    datasets = {"left": spec("left", test_fraction=0.02), "printed": PARAMS["datasets"]["printed"]}
    without = ["duplicates", "leaks", "label_errors"]
    write_params(datasets=datasets, source=["left"], select={"without": without})
    run("ingest", "select")
    metrics, chosen = read_json(Path(OUTPUTS[1])), set(pd.read_parquet(OUTPUTS[0])["id"])
    assert not chosen & ids("left", slice(80, 86)) and ids("left", slice(0, 3)) <= chosen
    assert len(chosen & ids("left", slice(10, 14))) <= 1
    assert metrics["left_out.duplicates"] == 3 and metrics["left_out.tested"] + metrics["left_out.leaks"] >= 3
    gone = sum(metrics[f"left_out.{name}"] for name in ("tested", *without))
    assert metrics["num_candidates"] == metrics["num_selected"] == len(chosen) == 90 - gone
    assert f"{metrics['left_out.label_errors']} whose label looks wrong" in capsys.readouterr().out
    write_params(datasets=datasets, source=["left"], select={"without": without, "size": 90, "method": "random"})
    with pytest.raises(UserError, match=rf"size is 90, but the source has {90 - gone} images to choose from"):
        run("select")


def test_a_source_of_which_nothing_is_left_is_refused() -> None:
    of_target, _ = pictures(60, seed=1)
    write_pictures("left", 255 - of_target)
    left, right = spec("left", labels=None), spec("printed", test_fraction=0.99)
    write_params(datasets={"left": left, "printed": right}, source=["left"], select={"without": ["leaks"]})
    run("ingest")
    keys = read_table("printed").query("split == 'train'").index
    assert 0 < len(keys) < 5
    table = read_table("left")
    table.loc[keys, ["sha256", "group"]] = table[["sha256", "group"]].iloc[keys[0] - 1].tolist()
    write_parquet(Path("datasets/left/table.parquet"), table)
    with pytest.raises(
        UserError, match=r"^select in params\.yaml: no image of the source is left .* \d+ tested, \d+ leaks"
    ):
        run("select")


RECIPE = {"encoder": "small_cnn", "channels": 1, "size": 12, "mean": [0.2], "std": [0.2], "stem": None}
ENCODERS = {"mine": {"encoder": "small_cnn", "weights": "mine.safetensors"}}


def test_images_are_compared_by_the_features_of_a_named_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    save_model(Path("weights"), from_config(RECIPE, 5).backbone, {})
    Path("weights/model.safetensors").rename("weights/mine.safetensors")
    by_pixels, _ = select(method="nearest", size=20)
    write_params(
        select={"method": "nearest", "size": 20, "features": "mine"}, compare={"path": "weights", "encoders": ENCODERS}
    )
    run("select")
    assert "source images selected by 'nearest' by mine" in capsys.readouterr().out
    assert set(pd.read_parquet(OUTPUTS[0])["id"]) != by_pixels
    before = bytes_of(*OUTPUTS)
    run("select")
    assert bytes_of(*OUTPUTS) == before
    Path("weights/mine.safetensors").unlink()
    with pytest.raises(UserError, match=r"^compare in params\.yaml: encoders\.mine\.weights is .*not in 'weights'"):
        run("select")
    assert bytes_of(*OUTPUTS) == before


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"method": "randomm"}, r"^select in params\.yaml: method is 'randomm'.*did you mean 'random'"),
    ({"method": "cluster_balanced", "options": {"clusters": 3}}, r"options has no option 'clusters'"),
    ({"method": "cluster_balanced", "options": {"num_clusters": "x"}}, r"options\.num_clusters is 'x'"),
    ({"features": "pixel"}, r"features is 'pixel', which is neither .*did you mean 'pixels'"),
    ({"features": "given"}, r"features is 'given', which is neither"),
]


@pytest.mark.parametrize(("block", "message"), [*MISTAKES, ({"method": "random", "size": 61}, r"size is 61")])
def test_mistakes_end_in_one_sentence_with_nothing_written(block: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        select(**block)
    assert not any(Path(output).exists() for output in OUTPUTS)


@pytest.mark.parametrize(("block", "message"), MISTAKES)
def test_mistakes_are_found_before_anything_runs(block: dict[str, Any], message: str) -> None:
    Path("dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    write_params(select=block)
    with pytest.raises(UserError, match=message):
        checked()


@pytest.mark.parametrize("block", [{"method": "stratified"}, {"without": ["label_errors"]}])
def test_a_label_that_there_is_not_is_missed_before_anything_runs(block: dict[str, Any]) -> None:
    Path("dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    for labels, words in (({}, "names none"), ({"light": "regression"}, "'light' is regression")):
        write_params(select=block, labels=labels, primary=None)
        with pytest.raises(UserError, match=rf"^select in params\.yaml: .* takes a label of classes .*{words}"):
            checked()
