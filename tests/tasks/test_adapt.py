from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from pipeline_lib.adapt import ADAPTERS
from pipeline_lib.adapt.scorers import SCORERS
from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json
from pipeline_lib.heads.model import load_multi_task
from tests.tasks.project import (
    TRAINED,
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
    write_encoder,
    write_params,
    write_pictures,
)

MODEL, PREDICTIONS, CURVE = "models/adapted/0", "predictions/adapt/0.parquet", "plots/adapt/0.csv"
CHOICE = Path("predictions/adapt/0.json")
LABELS: dict[str, Any] = {"place": "multiclass", "light": "regression"}
TRAINS = {name for name, adapter in ADAPTERS.items() if adapter.trains}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project up to the heads, of which both labels were learnt from the source."""
    with pytest.MonkeyPatch.context() as patch:
        folder = ingested(tmp_path_factory.mktemp("adapt"), patch)
        write_encoder()
        run("select", "heads")
        return folder


@pytest.fixture(autouse=True)
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(finished, tmp_path, monkeypatch)


def predicted() -> dict[str, set[str]]:
    """The labels that each model answered."""
    found = pd.read_parquet(PREDICTIONS)
    return {model: set(part["label"]) for model, part in found.groupby("model")}


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], which: str = "") -> bool:
    assert set(one) == set(other)
    return all(torch.equal(value, other[name]) for name, value in one.items() if which in name)


@pytest.mark.parametrize("use", [*sorted(ADAPTERS), "none"])
def test_every_adapter_of_the_list_answers_and_the_declared_one_is_handed_on(
    use: str, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = sorted({"shot_im", use} - {"none"})
    # A model that hardly learnt anything is sure of no image, and EATA takes sure ones alone.
    options = {"eata": {"margin": 1.0, "likeness": 9.0}} if use == "eata" else {}
    write_params(adapt={**TRAINED, "methods": methods, "use": use, "options": options})
    run("adapt")
    assert predicted() == {name: set(LABELS) for name in ["source_only", *methods]}
    found = pd.read_parquet(PREDICTIONS)
    drawn = read_table("drawn")
    held_out = [f"drawn/{name}" for name in drawn.loc[drawn["split"] == "test", "id"]]
    ids = sorted([*held_out, *(f"printed/{name}" for name in read_table("printed")["id"])])
    assert all(sorted(part["id"]) == ids for _, part in found.groupby(["model", "label"]))
    trained = TRAINS & set(methods)
    assert set(pd.read_csv(CURVE)["method"]) == trained
    assert set(read_json(Path("metrics/adapt/0.json"))) == {f"loss.{name}" for name in trained}
    before, after = weights("models/heads/0"), weights(MODEL)
    assert same(before, after) == (use == "none")
    assert same(before, after, "running_mean") == (use == "none")
    assert same(before, after, "encoder.") == same(before, after, "heads.") == (use == "none")
    assert same(_parameters(before), _parameters(after), "encoder.") == (use not in TRAINS)
    config, given = (read_json(Path(folder) / "config.json") for folder in (MODEL, "models/heads/0"))
    assert config.pop("method") == ("source_only" if use == "none" else use)
    assert config.pop("calibration") == (given["calibration"] if use == "none" else {}) and given["calibration"]
    assert {name: given[name] for name in config} == config
    assert f"handing on the model {'as it is' if use == 'none' else f'after {use}'}" in capsys.readouterr().out


def _parameters(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All but what batch normalisation counts."""
    return {name: value for name, value in found.items() if not ("running_" in name or "num_batches" in name)}


@pytest.mark.parametrize("changes", [shuffled, lambda values: None], ids=["shuffled", "none"])
def test_no_label_of_the_target_matters(changes: Any) -> None:
    write_params(adapt={**TRAINED, "methods": sorted(ADAPTERS), "use": "mcc"})
    run("adapt")
    before = bytes_of("models/adapted", "predictions/adapt", "metrics/adapt", "plots/adapt")
    for split in ("train", "test"):
        for label in LABELS:
            change_label("printed", label, split, changes)
    run("adapt")
    assert bytes_of("models/adapted", "predictions/adapt", "metrics/adapt", "plots/adapt") == before


def test_auto_hands_on_what_it_chose_whatever_the_labels_of_the_target() -> None:
    write_params(adapt={**TRAINED, "methods": ["adabn", "shot_im"], "use": "auto"})
    run("adapt")
    choice, found = read_json(CHOICE), pd.read_parquet(PREDICTIONS)
    assert set(choice["scores"]) == set(choice["ranks"]) == {"source_only", "adabn", "shot_im"}
    assert read_json(Path(MODEL) / "config.json")["method"] == choice["chosen"]
    answers = [found[found["model"] == model].drop(columns="model") for model in ("auto", choice["chosen"])]
    pd.testing.assert_frame_equal(*(one.reset_index(drop=True) for one in answers))
    before = bytes_of("models/adapted", "predictions/adapt")
    for split in ("train", "test"):
        change_label("printed", "place", split, shuffled)
    run("adapt")
    assert bytes_of("models/adapted", "predictions/adapt") == before


def test_labels_of_the_source_matter_to_the_adapter_that_trains_on_them() -> None:
    write_params(adapt={**TRAINED, "methods": ["mcc"], "use": "mcc"})
    run("adapt")
    before = weights(MODEL)
    change_label("drawn", "place", "test", shuffled)
    run("adapt")
    assert same(before, weights(MODEL))
    change_label("drawn", "place", "train", shuffled)
    run("adapt")
    assert not same(before, weights(MODEL))


def test_the_bytes_of_a_test_image_teach_no_adapter_its_answer() -> None:
    write_params(adapt={**TRAINED, "methods": ["mcc"], "use": "mcc"})
    path = Path("datasets/printed/table.parquet")
    table = read_table("drawn")
    twin = table.index[table["split"] == "train"][0]
    scored = pd.read_parquet(path)
    scored.loc[scored.index[scored["split"] == "test"][0], "sha256"] = table.loc[twin, "sha256"]
    scored.to_parquet(path)
    run("adapt")
    before = weights(MODEL)
    table.loc[twin, "label.place"] = "at 1" if table.loc[twin, "label.place"] == "at 0" else "at 0"
    table.to_parquet("datasets/drawn/table.parquet")
    run("adapt")
    assert same(before, weights(MODEL))


def test_an_image_that_was_not_selected_teaches_no_adapter() -> None:
    write_params(adapt={**TRAINED, "methods": ["mcc"], "use": "mcc"})
    table, path = read_table("drawn"), Path("selection/source.parquet")
    left_out = table.index[table["split"] == "train"][:3]
    chosen = pd.read_parquet(path)
    chosen[~chosen["id"].isin("drawn/" + table.loc[left_out, "id"])].to_parquet(path)
    run("adapt")
    before = weights(MODEL)
    table.loc[left_out, "label.place"] = np.roll(table.loc[left_out, "label.place"], 1)
    table.loc[left_out, "label.light"] += 1
    table.to_parquet("datasets/drawn/table.parquet")
    run("adapt")
    assert same(before, weights(MODEL))


def test_no_candidate_trains_on_what_they_are_judged_by(capsys: pytest.CaptureFixture[str]) -> None:
    ids = set(pd.read_parquet("models/heads/0/held_back.parquet")["id"])
    found = read_table("drawn")
    rows = found.index[("drawn/" + found["id"]).isin(ids)]
    assert ids and set(found.loc[rows, "split"]) == {"train"}

    def after(use: str, move: bool) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        write_params(adapt={**TRAINED, "methods": ["mcc"], "use": use, "scorers": ["infomax", "iwv"]})
        table = found.copy()
        if move:
            table.loc[rows, "label.place"] = np.roll(table.loc[rows, "label.place"], 1)
            table.loc[rows, "label.light"] = np.roll(table.loc[rows, "label.light"], 1)
        table.to_parquet("datasets/drawn/table.parquet")
        run("adapt")
        return read_json(Path("metrics/adapt/0.json")), read_json(CHOICE)["scores"]

    (held, judged), (held_moved, judged_moved) = (after("auto", move) for move in (False, True))
    assert held == held_moved and judged["mcc"]["infomax"] == judged_moved["mcc"]["infomax"]
    assert judged["mcc"]["iwv"] != judged_moved["mcc"]["iwv"]
    # Where nothing is chosen they train like any other.
    (seen, _), (seen_moved, _) = (after("mcc", move) for move in (False, True))
    assert seen != seen_moved and seen != held
    assert "cannot be told" not in capsys.readouterr().out


def test_where_nothing_was_held_back_scorers_by_the_source_cannot_tell(capsys: pytest.CaptureFixture[str]) -> None:
    write_params(
        heads={"use": "frozen"}, adapt={**TRAINED, "methods": ["mcc"], "use": "auto", "scorers": ["dev", "iwv"]}
    )
    run("heads", "adapt")
    assert pd.read_parquet("models/heads/0/held_back.parquet").empty
    assert "what adapters forget and dev and iwv cannot be told" in capsys.readouterr().out
    assert read_json(CHOICE)["chosen"] == "source_only"


def test_without_a_label_with_classes_what_needs_none_still_adapts(capsys: pytest.CaptureFixture[str]) -> None:
    drop_labels("drawn", "place")
    write_params(adapt={**TRAINED, "methods": sorted(ADAPTERS), "use": "shot_im"})
    run("heads", "adapt")
    needs_none = {name for name, adapter in ADAPTERS.items() if not adapter.needs_label}
    assert set(predicted()) == {"source_only", *needs_none}
    said = capsys.readouterr().out
    assert {name for name in ADAPTERS if f"so {name} is left out" in said} == set(ADAPTERS) - needs_none
    assert same(weights("models/heads/0"), weights(MODEL))


@pytest.mark.parametrize("source_labels", [[], ["place"]], ids=["no label", "a label of the target"])
def test_what_is_not_learnt_from_the_source_is_not_adapted(
    source_labels: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    drop_labels("drawn", *LABELS)
    drop_labels("printed", *[name for name in LABELS if name not in source_labels])
    run("heads", "adapt")
    assert same(weights("models/heads/0"), weights(MODEL))
    assert predicted() == ({"source_only": set(source_labels)} if source_labels else {})
    assert list(pd.read_csv(CURVE)) == ["method", "epoch", "loss"]
    assert "no label is learnt from the source" in capsys.readouterr().out
    assert list(load_multi_task(Path(MODEL)).specs) == source_labels


def test_a_primary_label_without_classes_leaves_it_to_one_that_has_them() -> None:
    write_params(primary="light")
    run("adapt")
    by_light = weights(MODEL)
    write_params(primary="place")
    run("adapt")
    assert same(by_light, weights(MODEL))


@pytest.mark.parametrize(("num", "adapts"), [(1, False), (2, True), (3, True)])
def test_a_handful_of_target_images(num: int, adapts: bool, capsys: pytest.CaptureFixture[str]) -> None:
    images, _ = pictures(num, seed=9)
    write_pictures("few", images)
    write_params(
        datasets={"drawn": spec("drawn"), "printed": spec("few", labels=None)},
        adapt={**TRAINED, "methods": sorted(ADAPTERS), "use": "shot_im"},
    )
    run("ingest", "select", "adapt")
    assert set(predicted()) == {"source_only", *(ADAPTERS if adapts else ())}
    assert ("a single image" in capsys.readouterr().out) != adapts
    assert all(np.isfinite(value).all() for value in weights(MODEL).values())


@pytest.mark.parametrize("equal", [False, True], ids=["two images", "equal images"])
def test_auto_chooses_on_what_hardly_is_a_target(equal: bool) -> None:
    images = np.full((20, 12, 12), 128, np.uint8) if equal else pictures(2, seed=9)[0]
    write_pictures("odd", images)
    write_params(
        datasets={"drawn": spec("drawn"), "printed": spec("odd", labels=None)},
        adapt={**TRAINED, "methods": ["adabn", "coral", "mcc", "shot_im"], "use": "auto", "scorers": sorted(SCORERS)},
    )
    run("ingest", "select", "adapt")
    choice = read_json(CHOICE)
    assert choice["chosen"] in choice["ranks"] and set(choice["scores"]["mcc"]) == set(SCORERS)
    assert predicted()["auto"] == set(LABELS)


@pytest.mark.parametrize("shade", [0, 128])
def test_a_target_of_equal_images(shade: int) -> None:
    write_pictures("blank", np.full((20, 12, 12), shade, np.uint8))
    write_params(
        datasets={"drawn": spec("drawn"), "printed": spec("blank", labels=None)},
        adapt={**TRAINED, "methods": sorted(ADAPTERS), "use": "shot_im"},
    )
    run("ingest", "adapt")
    found = pd.read_parquet(PREDICTIONS)
    assert np.isfinite(found.loc[found["label"] == "light", "predicted_value"]).all()
    assert all(np.isfinite(value).all() for value in weights(MODEL).values())


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"methods": ["adabnn"], "use": "none"}, r"^adapt in params\.yaml: methods is 'adabnn'.*did you mean 'adabn'"),
        ({"options": {"shot_im": {"diversty": 1.0}}}, r"^adapt in params\.yaml: options\.shot_im has no option"),
        ({"options": {"shot_im": {"diversity": "x"}}}, r"^adapt in params\.yaml: options\.shot_im\.diversity is 'x'"),
    ],
)
def test_mistakes_end_in_one_sentence_with_nothing_written(block: dict[str, Any], message: str) -> None:
    write_params(adapt={**TRAINED, **block})
    with pytest.raises(UserError, match=message):
        run("adapt")
    assert not Path(MODEL).exists()


def test_options_reach_their_adapter() -> None:
    run("adapt")
    before = weights(MODEL)
    write_params(adapt={**TRAINED, "options": {"shot_im": {"diversity": 0.0}}})
    run("adapt")
    assert not same(before, weights(MODEL))


def test_an_adapter_is_tried_in_several_ways() -> None:
    longer = {"method": "shot_im", "epochs": 3, "diversity": 0.5}
    write_params(adapt={**TRAINED, "methods": ["shot_im", "longer"], "use": "auto", "options": {"longer": longer}})
    run("adapt")
    assert pd.read_csv(CURVE).groupby("method")["epoch"].max().to_dict() == {"shot_im": 1, "longer": 3}
    assert set(read_json(CHOICE)["ranks"]) == {"source_only", "shot_im", "longer"}


def test_the_same_inputs_give_the_same_bytes() -> None:
    write_params(adapt={**TRAINED, "methods": sorted(ADAPTERS), "use": "mcc"})
    run("adapt")
    before = bytes_of("models/adapted", "predictions", "metrics", "plots")
    run("adapt")
    assert bytes_of("models/adapted", "predictions", "metrics", "plots") == before
