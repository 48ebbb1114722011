from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json, write_json
from pipeline_lib.encoders import ENCODERS
from pipeline_lib.heads.model import load_multi_task
from pipeline_lib.heads.strategies import STRATEGIES
from tasks.blocks.heads import Heads
from tests.tasks.project import (
    PARAMS,
    bytes_of,
    change_label,
    copied,
    drop_labels,
    enter,
    ingested,
    learning_rates,
    pictures,
    read_table,
    run,
    shuffled,
    write_encoder,
    write_params,
    write_pictures,
)

MODEL, PREDICTIONS, CURVE = "models/heads/0", "predictions/heads/0.parquet", "plots/heads/0.csv"
CHOICE = "predictions/heads/0.json"
SELECTION = "selection/source.parquet"
# What small_cnn can do.
ABLE = [name for name in STRATEGIES if name != "low_rank"]
ONE_LABEL: dict[str, Any] = {"labels": {"place": "multiclass"}}
COLUMNS = ["id", "model", "label", "predicted_class", "predicted_value", "confidence", "probabilities"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose datasets are ingested and whose encoder is pretrained, so to say."""
    with pytest.MonkeyPatch.context() as patch:
        folder = ingested(tmp_path_factory.mktemp("heads"), patch)
        run("select")
        write_encoder()
        return folder


@pytest.fixture(autouse=True)
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(finished, tmp_path, monkeypatch)


def predictions() -> pd.DataFrame:
    return pd.read_parquet(PREDICTIONS)


def ids_of(dataset: str, split: str = "test") -> set[str]:
    table = read_table(dataset)
    return {f"{dataset}/{name}" for name in table["id"][table["split"] == split]}


def encoder_of(folder: str) -> dict[str, torch.Tensor]:
    found = load_file(Path(folder) / "model.safetensors")
    return {name.removeprefix("encoder."): value for name, value in found.items() if not name.startswith("heads.")}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert set(one) == set(other)
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_labels_of_the_source_are_learnt_by_every_strategy(capsys: pytest.CaptureFixture[str]) -> None:
    write_params(heads={"strategies": ABLE})
    run("heads")
    found = predictions()
    assert list(found) == COLUMNS
    pairs = {(model, label) for model in (*ABLE, "multi_task", "single_task") for label in PARAMS["labels"]}
    assert set(zip(found["model"], found["label"], strict=True)) == pairs
    assert all(set(part["id"]) == ids_of("drawn") for _, part in found.groupby(["model", "label"]))
    count = len(pairs) // 2 * len(ids_of("drawn"))
    assert found.groupby("label")[["predicted_class", "predicted_value"]].count().to_numpy().tolist() in (
        [[0, count], [count, 0]],
        [[count, 0], [0, count]],
    )
    config = read_json(Path(MODEL) / "config.json")
    assert [one["name"] for one in config["labels"]] == ["place", "light"]
    assert config["labels"][0]["classes"] == ["at 0", "at 1", "at 2"]
    assert config["learnt_from"] == {"place": "source", "light": "source"} and config["strategy"] == "scratch"
    assert set(config["calibration"]) == {"place"}, "numbers have no probabilities"
    assert config["calibration"]["place"]["images"] == 4 and config["calibration"]["place"]["temperature"] > 0
    assert set(config["framing"]) == {"drawn", "printed"}
    framing = {"background": 0, "content": 12, "invert": False, "levels": [0, 255], "size": 12}
    assert config["framing"]["drawn"] == framing and config["target"] == ["printed"]
    trained = {*ABLE, "single_task_0", "single_task_1"} - {"frozen"}
    assert set(pd.read_csv(CURVE)["model"]) == trained
    keys = {f"loss.{name}" for name in trained} | {f"validation.{name}" for name in ABLE}
    assert set(read_json(Path("metrics/heads/0.json"))) == keys
    choice = read_json(Path(CHOICE))
    assert (choice["chosen"], choice["reason"], set(choice["losses"])) == ("scratch", "declared", set(ABLE))
    assert all(set(losses) == set(PARAMS["labels"]) for losses in choice["losses"].values())
    assert choice["labels"] == ["place", "light"] and np.array(choice["affinity"]).shape[1:] == (2, 2)
    assert "place, light on 42 images; handing on scratch" in capsys.readouterr().out


@pytest.mark.parametrize("handed_on", ["frozen", "all", "scratch"])
def test_the_declared_model_is_handed_on_and_one_label_shares_nothing(handed_on: str) -> None:
    write_params(**ONE_LABEL, heads={"use": handed_on})
    run("heads")
    assert set(predictions()["model"]) == {"multi_task", "frozen", "all", "scratch"}
    answers = {name: part["predicted_class"].tolist() for name, part in predictions().groupby("model")}
    assert answers["multi_task"] == answers[handed_on]
    pretrained, start, found = (encoder_of(name) for name in ("models/encoder/0", "models/encoder/0/start", MODEL))
    assert equal(pretrained, found) == (handed_on == "frozen")
    # A model that starts from the pretrained weights is still near them after three steps.
    apart = [
        sum(float((found[name] - value).abs().sum()) for name, value in other.items() if name.endswith("weight"))
        for other in (pretrained, start)
    ]
    assert (apart[0] < apart[1] / 2) == (handed_on != "scratch")


def test_auto_hands_on_the_best_on_the_training_images_that_are_held_back() -> None:
    write_params(heads={"use": "auto"})
    run("heads")
    choice = read_json(Path(CHOICE))
    means = {name: np.mean(list(losses.values())) for name, losses in choice["losses"].items()}
    assert choice["chosen"] == min(means, key=lambda name: means[name]) and choice["reason"] == "validation"
    assert read_json(Path(MODEL) / "config.json")["strategy"] == choice["chosen"]


def test_a_strategy_that_the_encoder_cannot_do_is_refused_before_any_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "small_cnn", lambda channels, size: OneBlock())
    write_encoder()
    write_params(heads={"strategies": ["scratch", "last_block"]})
    sentence = r"^heads in params\.yaml: strategies name last_block, which needs .* but 'small_cnn' is one: leave"
    with pytest.raises(UserError, match=sentence):
        run("heads")
    assert not Path("models/heads").exists() and not Path(".graftline").exists()


@pytest.mark.parametrize("weights", ["random", "file"])
def test_what_starts_from_given_weights_has_a_smaller_rate_and_the_model_says_so(
    weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Path("models/encoder/0/config.json")
    write_json(config, {**read_json(config), "weights": weights})
    rates = learning_rates(monkeypatch)
    for use in ("all", "scratch"):
        write_params(**ONE_LABEL, heads={"strategies": ["all", "scratch"], "use": use})
        run("heads")
        assert (rates["all"] < rates["scratch"]) == (weights == "file")
        assert rates["scratch"] == Heads().usual
        assert read_json(Path(MODEL) / "config.json")["weights"] == (weights if use == "all" else "random")


def test_labels_are_weighed_by_name_and_a_label_alone_is_not() -> None:
    found = []
    for weighting in ("equal", "uncertainty"):
        write_params(heads={"strategies": ["scratch"], "weighting": weighting, "epochs": 3})
        run("heads")
        light = predictions().query("label == 'light'")
        found.append({model: part["predicted_value"].tolist() for model, part in light.groupby("model")})
    equal, uncertainty = found
    assert equal["multi_task"] != uncertainty["multi_task"] and equal["single_task"] == uncertainty["single_task"]


def test_rare_classes_count_more_where_that_is_asked_for() -> None:
    found = []
    change_label(
        "drawn", "place", "train", lambda values: values.where((values != "at 1") | (np.arange(len(values)) < 9))
    )
    for balanced in (False, True):
        write_params(**ONE_LABEL, heads={"strategies": ["frozen", "all"], "use": "all", "class_balanced": balanced})
        run("heads")
        found.append(read_json(Path("metrics/heads/0.json")))
    assert found[0]["loss.all"] != found[1]["loss.all"]


@pytest.mark.parametrize(("baselines", "alone"), [(0, []), (1, ["place"]), (5, ["place", "light"])])
def test_only_so_many_labels_are_learnt_alone_too(baselines: int, alone: list[str]) -> None:
    write_params(heads={"strategies": ["scratch"], "baselines": baselines})
    run("heads")
    found = predictions()
    assert found.query("model == 'single_task'")["label"].unique().tolist() == alone
    assert set(found.query("model == 'multi_task'")["label"]) == {"place", "light"}
    names = {f"single_task_{number}" for number in range(len(alone))}
    assert set(pd.read_csv(CURVE)["model"]) == {"scratch"} | names


class OneBlock(torch.nn.Module):
    """An encoder that cannot be cut into blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(144, 8)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.linear(x_BCHW.flatten(1))
        return found


def test_without_labels_the_encoder_is_handed_on(capsys: pytest.CaptureFixture[str]) -> None:
    for name in PARAMS["datasets"]:
        drop_labels(name, "place", "light")
    run("heads")
    assert equal(encoder_of("models/encoder/0"), encoder_of(MODEL))
    assert load_multi_task(Path(MODEL)).specs == {}
    assert list(predictions()) == COLUMNS and predictions().empty
    assert list(pd.read_csv(CURVE)) == ["model", "epoch", "loss"]
    assert read_json(Path("metrics/heads/0.json")) == {}
    said = capsys.readouterr().out
    assert "'place' is not learnt: it has no value" in said and "the pretrained encoder is handed on" in said


def test_no_labels_block_is_no_error() -> None:
    write_params(labels={}, primary=None)
    run("heads")
    assert load_multi_task(Path(MODEL)).specs == {}


def test_each_label_is_held_out_where_it_is_learnt() -> None:
    drop_labels("drawn", "light")
    drop_labels("printed", "place")
    run("heads")
    assert read_json(Path(MODEL) / "config.json")["learnt_from"] == {"place": "source", "light": "target"}
    found = predictions()
    assert set(found["id"]) == ids_of("drawn") | ids_of("printed")
    assert set(found["model"]) == {"multi_task", "frozen", "all", "scratch", "single_task"}


@pytest.mark.parametrize(("learn_from", "other"), [("source", "printed"), ("target", "drawn")])
def test_only_training_labels_of_the_role_that_is_learnt_from_matter(learn_from: str, other: str) -> None:
    write_params(labels={"place": {"kind": "multiclass", "learn_from": learn_from}})
    run("heads")
    before = bytes_of("models/heads", "predictions/heads", "metrics/heads")
    (own,) = set(PARAMS["datasets"]) - {other}
    for dataset, split in ((own, "test"), (other, "test"), (other, "train")):
        change_label(dataset, "place", split, shuffled)
    run("heads")
    assert bytes_of("models/heads", "predictions/heads", "metrics/heads") == before
    change_label(own, "place", "train", shuffled)
    run("heads")
    assert bytes_of("models/heads", "predictions/heads", "metrics/heads") != before


def test_a_label_that_is_partly_missing_is_learnt_from_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    write_params(labels={"place": {"kind": "multiclass", "learn_from": "both"}})

    def some(values: pd.Series) -> pd.Series:
        return values.where((np.arange(len(values)) % 4 > 0) & (values != "at 1"))

    for dataset in PARAMS["datasets"]:
        change_label(dataset, "place", "train", some)
    run("heads")
    assert read_json(Path(MODEL) / "config.json")["labels"][0]["classes"] == ["at 0", "at 2"]
    known = sum(
        int((read_table(name).query("split == 'train'")["label.place"]).notna().sum()) for name in PARAMS["datasets"]
    )
    assert f"place on {known} images" in capsys.readouterr().out
    assert set(predictions()["id"]) == ids_of("printed")


def test_where_a_label_is_to_be_learnt_it_has_to_be() -> None:
    drop_labels("drawn", "light")
    write_params(labels={"place": "multiclass", "light": {"kind": "regression", "learn_from": "source"}})
    with pytest.raises(UserError, match=r"^labels in params\.yaml: the label 'light' is to be learnt from source"):
        run("heads")
    assert not Path(MODEL).exists()


def test_labels_may_have_names_that_no_module_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a.b", "a_dot_b", "self", "images_BCHW", "label_0", "loss", "x" * 300, "größe; <b>"]
    folder = tmp_path / "named"
    folder.mkdir()
    enter(folder, monkeypatch)
    for dataset in PARAMS["datasets"]:
        images, labels = pictures(30)
        write_pictures(dataset, images, dict.fromkeys(names, labels["place"]))
    write_params(labels=dict.fromkeys(names, "multiclass"), primary=None)
    run("ingest", "select")
    write_encoder()
    run("heads")
    assert list(load_multi_task(Path(MODEL)).specs) == names
    assert set(predictions()["label"]) == set(names)


def test_only_selected_images_of_the_source_teach_and_by_their_weights() -> None:
    chosen = pd.read_parquet(SELECTION)
    train = "drawn/" + read_table("drawn").query("split == 'train'")["id"]
    kept = chosen[chosen["id"].isin(train[:30]) | ~chosen["id"].isin(train)]
    kept.to_parquet(SELECTION)
    write_params(heads={"strategies": ["frozen"], "use": "frozen"})
    run("heads")
    before = bytes_of(MODEL, PREDICTIONS)
    gone = set(train[30:].str.removeprefix("drawn/"))

    def other(values: pd.Series) -> pd.Series:
        ids = read_table("drawn")["id"].loc[values.index]
        return values.mask(ids.isin(gone), "at 0")

    change_label("drawn", "place", "train", other)
    run("heads")
    assert bytes_of(MODEL, PREDICTIONS) == before
    kept.assign(weight=np.linspace(0.2, 1.8, len(kept))).to_parquet(SELECTION)
    run("heads")
    assert bytes_of(MODEL, PREDICTIONS) != before


def test_the_same_inputs_give_the_same_bytes_and_another_seed_others() -> None:
    write_params(**ONE_LABEL, seeds=[0, 1])
    write_encoder(1)
    run("heads")
    before = bytes_of("models/heads", "predictions", "metrics", "plots")
    run("heads")
    assert bytes_of("models/heads", "predictions", "metrics", "plots") == before
    assert before["models/heads/0/model.safetensors"] != before["models/heads/1/model.safetensors"]
