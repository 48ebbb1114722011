import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json
from pipeline_lib.data.images import decode
from tasks import ingest as ingest_task
from tasks.hashes import hash_files
from tasks.params import read_params
from tasks.stage import Stage
from tests.pipeline_lib.sets import squares
from tests.tasks.project import bytes_of, enter, read_table, run, spec, write_params, write_pictures


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(tmp_path, monkeypatch)
    images, places = squares(30)
    write_pictures("drawn", images, {"place": [None, *places[1:]]})
    write_pictures("printed", 255 - images)
    write_params()


def test_folders_become_datasets_and_it_is_said_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("pictures/drawn")
    Image.new("RGB", (30, 20), "red").save(folder / "colour.png")
    (folder / "empty.png").touch()
    (folder / "<b>.png").write_text("text")
    run("ingest")
    said = capsys.readouterr().out
    assert "drawn: 31 images of 12x12x1" in said and "drawn: 1 of mode RGB converted" in said
    assert "drawn: 1 quarantined: empty file" in said
    assert "drawn: label 'place' on 29 images, 2 without" in said
    assert "drawn: no image here has the label 'light'" in said
    assert np.load("datasets/drawn/images.npy").shape == (31, 12, 12, 1) and len(read_table("drawn")) == 31
    card = read_json(Path("datasets/drawn/card.json"))
    assert [each["path"] for each in card["quarantined"]] == ["<b>.png", "empty.png"]
    assert card["framing"] == {"background": 0, "content": 12, "invert": False, "levels": [0, 255]}
    assert len(read_table("printed")) == 30


@pytest.mark.parametrize("table", [None, "labels.csv"])
def test_a_dataset_needs_no_labels(table: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(datasets={"drawn": spec("drawn"), "printed": spec("printed", labels=table)})
    run("ingest")
    assert read_json(Path("datasets/printed/card.json"))["labels"] == {}
    assert not [name for name in read_table("printed") if name.startswith("label.")]
    assert "printed: no" in capsys.readouterr().out


def test_a_column_with_nearly_the_name_of_a_label_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    write_params(labels={"palce": "multiclass"}, primary=None)
    run("ingest")
    assert "did you mean 'place'?" in capsys.readouterr().out
    assert not [name for name in read_table("drawn") if name.startswith("label.")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reader": "folderr"}, r"datasets\.drawn in params\.yaml: reader is 'folderr'.*did you mean 'folder'"),
        ({"path": "nowhere"}, r"datasets\.drawn in params\.yaml: nowhere is not a folder"),
        ({"labels": "other.csv"}, r"datasets\.drawn in params\.yaml: .*other\.csv"),
        (
            {"columns": {"plcae": "x"}},
            r"drawn\.columns names 'plcae', which is neither group nor among the labels.*mean 'place'",
        ),
        ({"columns": {"place": "where"}}, r"the label 'place' is the column 'where', which is not there"),
        ({"options": {"image": "x"}}, r"options has no option 'image': allowed are none"),
        ({"reader": "parquet"}, r"holds its own labels: set labels to null"),
        ({"content": 13}, r"datasets\.drawn\.content is 13 px"),
    ],
)
def test_mistakes_end_in_one_sentence_with_nothing_written(change: dict[str, Any], message: str) -> None:
    write_params(datasets={"drawn": spec("drawn", **change), "printed": spec("printed")})
    with pytest.raises(UserError, match=message):
        run("ingest")
    assert not list(Path().glob("datasets/*"))


def test_the_same_pictures_give_the_same_bytes() -> None:
    run("ingest")
    first = bytes_of("datasets")
    run("ingest")
    assert bytes_of("datasets") == first


def test_images_of_one_group_are_in_one_split() -> None:
    images, places = squares(40)
    write_pictures("grouped", images, {"place": places}, group=[f"patient {row % 7}" for row in range(40)])
    write_params(datasets={"drawn": spec("drawn"), "printed": spec("grouped", test_fraction=0.5)})
    run("ingest")
    table: pd.DataFrame = read_table("printed")
    assert table.groupby("group")["split"].nunique().tolist() == [1] * 7
    assert 0 < (table["split"] == "test").mean() < 1


def test_only_new_files_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def watched(content: bytes, enough: int | None = None) -> Image.Image:
        decoded.append(content)
        return decode(content, enough)

    def ingested() -> dict[str, str]:
        inputs = hash_files(["pictures/drawn"], {})
        stage = Stage("ingest@drawn", read_params(), "0" * 16, (Path("datasets/drawn"),), inputs)
        ingest_task.run(stage, "drawn")
        stage.publish()
        return bytes_of("datasets/drawn")

    monkeypatch.setattr("pipeline_lib.data.framing.decode", watched)
    ingested()
    assert len(decoded) == 30
    Image.new("L", (12, 12), 77).save("pictures/drawn/new.png")
    decoded.clear()
    second = ingested()
    assert len(decoded) == 1
    shutil.rmtree(".graftline")
    assert ingested() == second and len(decoded) == 32
    decoded.clear()
    write_params(datasets={"drawn": spec("drawn", invert=True), "printed": spec("printed")})
    ingested()
    assert len(decoded) == 31, "frames of another framing are none of this one"


def test_class_folders_give_the_users_label_its_values(capsys: pytest.CaptureFixture[str]) -> None:
    images, places = squares(30)
    for row, (image, place) in enumerate(zip(images, places, strict=True)):
        Path("pictures/classes", place).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(f"pictures/classes/{place}/{row}.png")
    folders = spec("classes", reader="class_folders", labels=None)
    write_params(datasets={"drawn": folders, "printed": {**folders, "columns": {"place": "label"}}})
    run("ingest")
    assert "columns: {place: label} would take the one that there is" in capsys.readouterr().out
    assert sorted(read_table("printed")["label.place"]) == sorted(places)
    assert "label.place" not in read_table("drawn")
