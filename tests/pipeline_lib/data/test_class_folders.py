from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.columns import renamed, wanted
from pipeline_lib.data.readers.class_folders import class_folders
from pipeline_lib.data.samples import Reading


def put(root: Path, *names: str) -> None:
    for value, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), value).save(root / name)


def told(reading: Reading) -> dict[str, Any]:
    return {sample.path: (sample.labels.get("label"), sample.split) for sample in reading.samples}


def test_the_folder_is_the_label(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.png", "cat/more/2.png", "dog/1.png", "loose.png")
    reading = class_folders(tmp_path, None, ("label", "size"))
    assert reading.labels == ("label",)
    assert told(reading) == {
        "cat/1.png": ("cat", None), "cat/more/2.png": ("cat", None), "dog/1.png": ("dog", None),
        "loose.png": (None, None),
    }  # fmt: skip
    assert reading.notes == (f"1 images of {tmp_path} lie in no folder that names a class, and are not labelled",)


@pytest.mark.parametrize(
    ("names", "sides"),
    [
        (("train", "test"), ("train", "test")),
        (("Train", "val"), ("train", "test")),
        (("train", "test", "validation"), ("train", "test", "train")),
        (("valid", "test"), ("train", "test")),
        (("train",), (None,)),
        (("test",), (None,)),
    ],
)
def test_folders_of_splits_are_splits(tmp_path: Path, names: tuple[str, ...], sides: tuple[str | None, ...]) -> None:
    put(tmp_path, *(f"{name}/{kind}/1.png" for name in names for kind in ("cat", "dog")))
    reading = class_folders(tmp_path, None, ("label",))
    sides_of_names = dict(zip(names, sides, strict=True))
    assert told(reading) == {
        f"{name}/{kind}/1.png": (kind, sides_of_names[name]) for name in names for kind in ("cat", "dog")
    }
    assert reading.notes


def test_a_class_may_be_called_as_a_split_beside_others(tmp_path: Path) -> None:
    put(tmp_path, "train/1.png", "bus/1.png")
    assert told(class_folders(tmp_path, None, ("label",))) == {
        "bus/1.png": ("bus", None),
        "train/1.png": ("train", None),
    }


def test_a_label_of_ones_own_takes_the_folders_by_its_column(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.png", "dog/1.png")
    (tmp_path / "more.csv").write_text("file,size,split\ncat/1.png,3,test\ndog/1.png,,train\n")
    labels, columns = ("animal", "size"), {"animal": "label"}
    reading = renamed(class_folders(tmp_path, "more.csv", wanted(labels, columns)), labels, columns)
    assert reading.labels == labels
    assert [(dict(sample.labels), sample.split) for sample in reading.samples] == [
        ({"animal": "cat", "size": "3"}, "test"), ({"animal": "dog", "size": None}, "train"),
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"'animal' is the column 'lable', which is not there; did you mean 'label'"):
        columns = {"animal": "lable"}
        renamed(class_folders(tmp_path, None, wanted(labels, columns)), labels, columns)


def test_a_column_of_any_name_may_be_the_group(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.png", "dog/1.png", "dog/2.png")
    (tmp_path / "more.csv").write_text("file,tray\ncat/1.png,7\ndog/1.png,7\n")
    labels, columns = ("label",), {"group": "tray"}
    reading = renamed(class_folders(tmp_path, "more.csv", wanted(labels, columns)), labels, columns)
    assert reading.labels == labels
    assert [sample.group for sample in reading.samples] == ["7", "7", None]
    with pytest.raises(UserError, match=r"the group is the column 'trya', which is not there; did you mean 'tray'"):
        columns = {"group": "trya"}
        renamed(class_folders(tmp_path, "more.csv", wanted(labels, columns)), labels, columns)


def test_what_no_folder_can_tell_is_said(tmp_path: Path) -> None:
    put(tmp_path / "flat", "1.png")
    with pytest.raises(UserError, match="lie in no folders"):
        class_folders(tmp_path / "flat", None, ("label",))
    put(tmp_path / "deep", "pictures/cat/1.png", "pictures/dog/1.png")
    reading = class_folders(tmp_path / "deep", None, ())
    assert reading.labels == () and reading.others == ("label",)
    assert "'pictures': if it holds those, set path to it" in reading.notes[0]
    (tmp_path / "deep/labels.csv").write_text("file,label\npictures/cat/1.png,3\n")
    with pytest.raises(UserError, match="has a column 'label'"):
        class_folders(tmp_path / "deep", "labels.csv", ("label",))
