from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json
from tasks import ingest
from tests.pipeline_lib.sets import squares
from tests.tasks.project import call, write_params, write_pictures


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, places = squares(30)
    write_pictures("source", images, [None, *places[1:]])
    write_pictures("target", 255 - images)
    write_params()


def run(role: str = "source") -> None:
    call(partial(ingest.run, role=role), f"data/{role}")


def test_a_folder_becomes_a_dataset_and_says_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("pictures/source")
    Image.new("RGB", (30, 20), "red").save(folder / "colour.png")
    (folder / "empty.png").touch()
    (folder / "<b>.png").write_text("text")
    run()
    said = capsys.readouterr().out
    assert "source: 31 images of 12x12x1" in said and "source: 1 of mode RGB converted" in said
    assert "source: 1 quarantined: empty file" in said
    assert "source: label 'place' on 29 images, 2 without" in said
    images, table = np.load("data/source/images.npy"), pd.read_parquet("data/source/table.parquet")
    assert images.shape == (31, 12, 12, 1) and len(table) == 31
    card = read_json(Path("data/source/card.json"))
    assert card["role"] == "source" and [each["path"] for each in card["quarantined"]] == ["<b>.png", "empty.png"]


def test_a_target_needs_no_labels() -> None:
    run("target")
    assert read_json(Path("data/target/card.json"))["labels"] == {}
    assert not [name for name in pd.read_parquet("data/target/table.parquet") if name.startswith("label.")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reader": "folderr"}, r"source\.reader in params\.yaml is 'folderr'.*did you mean 'folder'"),
        ({"path": "nowhere"}, "nowhere is not a folder"),
        ({"labels": "other.csv"}, r"other\.csv is missing"),
        ({"content": 13}, "content is 13 px"),
    ],
)
def test_mistakes_end_in_one_sentence_with_nothing_written(change: dict, message: str) -> None:
    write_params(source=change)
    with pytest.raises(UserError, match=message):
        run()
    assert not Path("data").exists()


def test_the_same_pictures_give_the_same_bytes() -> None:
    run()
    first = {file.name: file.read_bytes() for file in Path("data/source").iterdir()}
    run()
    assert {file.name: file.read_bytes() for file in Path("data/source").iterdir()} == first
