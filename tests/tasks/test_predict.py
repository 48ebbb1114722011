import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from flows.__main__ import main as graftline
from pipeline_lib.core.files import read_json, write_json
from pipeline_lib.data.dataset import read_dataset
from pipeline_lib.data.readers.folder import folder
from pipeline_lib.heads.model import load_multi_task
from pipeline_lib.use.files import Files
from pipeline_lib.use.model import load_usable
from tasks.predict import main
from tasks.stage import guarded
from tests.tasks.project import (
    PARAMS,
    copied,
    drop_labels,
    ingested,
    pictures,
    run,
    spec,
    write_encoder,
    write_params,
    write_pictures,
)

MODEL, IMAGES, OUT = Path("models/adapted/0"), Path("pictures/printed"), Path("out/said.parquet")
# Half of the images are held out, for a threshold of familiarity there are too few otherwise.
DATASETS = {name: spec(name, test_fraction=0.5) for name in PARAMS["datasets"]}
SETTINGS: dict[str, Any] = {"datasets": DATASETS, "heads": {"epochs": 4}}
COLUMNS = ["file", "label", "answer", "value", "confidence", "calibrated", "distance", "unfamiliar", "problem"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose models are trained, and whose features tell its pictures from others."""
    with pytest.MonkeyPatch.context() as patch:
        project = ingested(tmp_path_factory.mktemp("predict"), patch, **SETTINGS)
        write_encoder()
        run("select", "heads", "adapt")
        return project


@pytest.fixture(autouse=True)
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copied(finished, tmp_path / "project", monkeypatch)
    return tmp_path / "project"


def predicted(images: Path = IMAGES, *options: str, out: Path = OUT) -> pd.DataFrame:
    """The table that the command writes."""
    call("--images", images, "--out", out, *options)
    return pd.read_parquet(out) if out.suffix == ".parquet" else pd.read_csv(out)


def call(*options: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["predict", *map(str, options), "--device", "cpu"])
        guarded(main)


def refusal(capsys: pytest.CaptureFixture[str], *options: Any) -> str:
    """The one sentence that the command ends with."""
    with pytest.raises(SystemExit) as caught:
        call(*options)
    assert caught.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("error: "), said
    assert not list(Path().rglob("*.partial*"))
    return said[0]


def test_answers_are_those_of_the_stage() -> None:
    table = predicted()
    assert list(table) == COLUMNS
    stage = pd.read_parquet("predictions/adapt/0.parquet")
    method = read_json(MODEL / "config.json")["method"]
    stage = stage[(stage["model"] == method) & stage["id"].str.startswith("printed/")]
    path_of = read_dataset(Path("datasets/printed")).table.assign(id=lambda it: "printed/" + it["id"])
    both = stage.merge(path_of[["id", "path"]]).merge(table, left_on=["path", "label"], right_on=["file", "label"])
    assert len(both) == len(table) == len(stage) == 120
    place = both[both["label"] == "place"]
    assert place["answer"].tolist() == place["predicted_class"].tolist()
    light = both[both["label"] == "light"]
    np.testing.assert_allclose(light["value"], light["predicted_value"], rtol=1e-5)
    assert table["problem"].isna().all()
    assert table.loc[table["label"] == "light", ["answer", "confidence"]].isna().all(axis=None)


@pytest.mark.parametrize("temperature", [None, 0.5, 3.0])
def test_confidence_is_the_calibrated_probability_of_the_answer(temperature: float | None) -> None:
    if temperature:
        write_json(
            MODEL / "config.json",
            {**read_json(MODEL / "config.json"), "calibration": {"place": {"temperature": temperature}}},
        )
    rows = predicted().set_index(["file", "label"])
    model = load_multi_task(MODEL).eval()
    pixels = torch.from_numpy(read_dataset(Path("datasets/printed")).images[:8]).permute(0, 3, 1, 2)
    with torch.no_grad():
        outputs = model(model.encoder.normalise(pixels))["place"]
    expected = (outputs / (temperature or 1)).softmax(dim=1).max(dim=1).values
    files = [f"{row:03d}.png" for row in range(8)]
    np.testing.assert_allclose([rows.loc[(file, "place"), "confidence"] for file in files], expected, rtol=1e-5)
    assert rows.xs("place", level="label")["calibrated"].eq(temperature is not None).all()
    assert not rows.xs("light", level="label")["calibrated"].any()


def test_what_is_unlike_the_training_images_is_marked_and_few_others(capsys: pytest.CaptureFixture[str]) -> None:
    alike, _ = pictures(200, seed=7)
    noise = np.random.default_rng(0).integers(0, 256, (50, 12, 12), np.uint8)
    places = {name: write_pictures(name, images) for name, images in {"alike": alike, "noise": noise}.items()}
    for name in ("heads", "adapted"):
        shares = [predicted(place, "--model", f"models/{name}/0")["unfamiliar"].mean() for place in places.values()]
        assert shares[0] < 0.2 and shares[1] > 0.8, (name, shares)
    assert "; of pictures like those, 5% would be marked" in capsys.readouterr().out


def test_the_target_is_familiar_to_the_model_that_was_adapted_to_it_alone() -> None:
    before, after = (predicted(IMAGES, "--model", f"models/{name}/0") for name in ("heads", "adapted"))
    assert before["unfamiliar"].mean() > 0.5 and after["unfamiliar"].mean() < 0.1


def test_a_model_that_is_handed_on_as_it_was_knows_what_it_knew() -> None:
    write_params(**SETTINGS, adapt={"use": "none"})
    run("adapt")
    known = [Path(f"models/{name}/0/familiarity.safetensors").read_bytes() for name in ("heads", "adapted")]
    assert known[0] == known[1]


def test_a_model_works_anywhere(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = predicted()
    shutil.copytree(MODEL, tmp_path / "elsewhere/model")
    monkeypatch.chdir(tmp_path / "elsewhere")
    outside = predicted(project / IMAGES, "--model", "model")
    pd.testing.assert_frame_equal(inside, outside)
    command = ["graftline", "predict", "--images", str(project / IMAGES), "--model", "model", "--out", "other.parquet"]
    monkeypatch.setattr(sys, "argv", command)
    graftline()
    assert Path("other.parquet").read_bytes() == OUT.read_bytes()


def test_pictures_are_framed_as_ingest_does() -> None:
    odd = Path("pictures/odd")
    odd.mkdir()
    grey = Image.fromarray(pictures(1)[0][0]).resize((31, 20))
    colour = Image.merge("RGB", [grey, grey.point(lambda value: 255 - value), grey])
    for mode in ("L", "1", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "F"):
        suffix = "tif" if mode in ("CMYK", "F") else "png"
        (grey if mode in ("I;16", "F") else colour).convert(mode).save(odd / f"{mode.replace(';', '')}.{suffix}")
    clear = colour.convert("P")
    clear.info["transparency"] = 0
    clear.save(odd / "clear.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    colour.save(odd / "turned.jpg", exif=turned)
    (odd / "broken.png").write_bytes(b"no picture")
    datasets = {
        **DATASETS,
        "odd": spec("odd", labels=None, max_broken=0.5, invert=True, content=9, background=30),
    }
    write_params(datasets=datasets, target=["odd"])
    run("ingest")
    dataset = read_dataset(Path("datasets/odd"))
    config = read_json(MODEL / "config.json")
    framed = {**dataset.card["framing"], "size": 12}
    write_json(MODEL / "config.json", {**config, "framing": {**config["framing"], "odd": framed}})
    files = Files(folder(odd, None, ()).samples, load_usable(MODEL, "odd").framing)
    images = files.read(torch.arange(len(files))).permute(0, 2, 3, 1).numpy()
    whole = [place for place, sample in enumerate(files.samples) if sample.path != "broken.png"]
    assert dataset.table["path"].tolist() == [files.samples[place].path for place in whole]
    np.testing.assert_array_equal(images[whole], dataset.images[:])
    assert list(files.broken) == ["broken.png"]
    assert predicted(odd, "--like", "odd")["problem"].notna().sum() == 2


def test_broken_files_are_listed_and_the_others_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    before = predicted()
    for row in range(12):
        (IMAGES / f"{row:03d}.png").write_bytes(b"" if row else b"text")
    after = predicted(IMAGES, "--batch-size", "7")
    broken = after["problem"].notna()
    assert sorted(after["file"][broken].unique()) == [f"{row:03d}.png" for row in range(12)]
    assert after.loc[broken, COLUMNS[2:-1]].isna().all(axis=None)
    pd.testing.assert_frame_equal(after[~broken].astype(before.dtypes), before[~broken], rtol=1e-4)
    said = capsys.readouterr().out
    assert "001.png cannot be used: empty file" in said
    assert "and 2 more cannot be used, 12 in all" in said


def test_a_csv_says_the_same() -> None:
    table = predicted(out=Path("said.csv"))
    assert list(table) == COLUMNS
    assert table["answer"].dropna().tolist() == predicted()["answer"].dropna().tolist()


def test_a_model_that_does_not_know_its_images_marks_none(capsys: pytest.CaptureFixture[str]) -> None:
    (MODEL / "familiarity.safetensors").unlink()
    table = predicted()
    assert table["unfamiliar"].isna().all() and table["distance"].isna().all()
    assert "does not know what it was trained on" in capsys.readouterr().out


def change(**changes: Any) -> Callable[[], None]:
    return lambda: write_json(MODEL / "config.json", {**read_json(MODEL / "config.json"), **changes})


def without(key: str) -> Callable[[], None]:
    return lambda: write_json(
        MODEL / "config.json",
        {name: value for name, value in read_json(MODEL / "config.json").items() if name != key},
    )


def without_size() -> None:
    config = read_json(MODEL / "config.json")
    for framing in config["framing"].values():
        del framing["size"]
    write_json(MODEL / "config.json", config)


def emptied() -> None:
    for file in IMAGES.iterdir():
        file.unlink()


def spoilt() -> None:
    for file in IMAGES.glob("*.png"):
        file.write_bytes(b"text")


MISTAKES: dict[str, tuple[Callable[[], object], list[str], list[str]]] = {
    "no folder": (lambda: shutil.rmtree(IMAGES), [], ["printed is not a folder that exists"]),
    "an empty folder": (emptied, [], ["printed holds no image", ".png"]),
    "nothing but broken pictures": (spoilt, [], ["none of the 60 pictures", "000.png", "not a"]),
    "no model": (lambda: shutil.rmtree(MODEL), [], ["models/adapted/0 holds no model", "make run"]),
    "no project": (lambda: Path("params.yaml").unlink(), [], ["params.yaml", "--model"]),
    "no such model": (lambda: None, ["--model", "models/adpted/0"], ["models/adpted/0 holds no model"]),
    "an encoder": (lambda: None, ["--model", "models/encoder/0"], ["has no heads", "models/heads"]),
    "no label": (change(labels=[]), [], ["has no heads"]),
    "a model of an older version": (without("target"), [], ["older version", "'target'", "again"]),
    "a framing of an older version": (without_size, [], ["older version", "'size'"]),
    "an unknown kind": (change(labels=[{"name": "a", "kind": "dream"}]), [], ["'dream'", "does not know"]),
    "an unknown encoder": (change(encoder="small_cn"), [], ["encoder", "did you mean 'small_cnn'"]),
    "another encoder": (change(encoder="small_vit"), [], ["models/adapted/0 cannot be loaded"]),
    "a framing that is none": (
        change(framing={"printed": {"size": 12, "content": 40, "background": 0, "invert": False, "levels": [0, 255]}}),
        [],
        ["framing", "cannot be used"],
    ),
    "a config that is cut short": (lambda: (MODEL / "config.json").write_text("{"), [], ["config.json", "cut short"]),
    "a config that is a list": (lambda: (MODEL / "config.json").write_text("[]"), [], ["config.json", "damaged"]),
    "a temperature that is none": (
        change(calibration={"place": {"temperature": 0}}),
        [],
        ["config.json", "damaged"],
    ),
    "no weights": (lambda: (MODEL / "model.safetensors").unlink(), [], ["model.safetensors is missing"]),
    "half of the weights": (
        lambda: (MODEL / "model.safetensors").write_bytes((MODEL / "model.safetensors").read_bytes()[:999]),
        [],
        ["cannot be loaded"],
    ),
    "an unknown dataset": (lambda: None, ["--like", "printd"], ["'printd'", "did you mean 'printed'"]),
    "another table": (lambda: None, ["--out", "said.xlsx"], ["said.xlsx", ".parquet or .csv"]),
    "a folder as table": (lambda: Path("said.csv").mkdir(), ["--out", "said.csv"], ["said.csv", "is a folder"]),
    "no images at a time": (lambda: None, ["--batch-size", "0"], ["--batch-size is 0"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_the_table_of_before_stays(
    mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, options, words = MISTAKES[mistake]
    make()
    OUT.parent.mkdir()
    OUT.write_text("the table of before")
    said = refusal(capsys, "--images", IMAGES, "--out", OUT, *options)
    assert [word for word in words if word not in said] == [], said
    assert OUT.read_text() == "the table of before"


def test_kinds_answer_as_they_are_stored() -> None:
    for name in PARAMS["datasets"]:
        table = pd.read_csv(f"pictures/{name}/labels.csv")
        table["tags"] = [";".join(["odd"] * (row % 2) + ["third"] * (row % 3 == 0)) or ";" for row in table.index]
        table.to_csv(f"pictures/{name}/labels.csv", index=False)
    labels = {"place": {"kind": "ordinal", "order": ["at 2", "at 0", "at 1"]}, "tags": "multilabel"}
    write_params(**SETTINGS, labels=labels)
    run("ingest", "heads", "adapt")
    table = predicted()
    assert set(table.loc[table["label"] == "place", "answer"]) <= {"at 0", "at 1", "at 2"}
    assert set(table.loc[table["label"] == "tags", "answer"]) <= {";", "odd", "third", "odd;third"}
    assert table["confidence"].between(0.25, 1).all()


def test_without_labels_there_is_nothing_to_predict(capsys: pytest.CaptureFixture[str]) -> None:
    for name in PARAMS["datasets"]:
        drop_labels(name, "place", "light")
    run("heads", "adapt")
    assert "has no heads" in refusal(capsys, "--images", IMAGES, "--out", OUT)
    assert not OUT.exists()


def test_config_says_which_dataset_frames_new_pictures() -> None:
    assert json.loads((MODEL / "config.json").read_text())["target"] == ["printed"]
    assert load_usable(MODEL).framed_as == "printed"
