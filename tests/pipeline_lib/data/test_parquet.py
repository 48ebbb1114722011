import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.images import BrokenImageError
from pipeline_lib.data.readers.parquet import parquet
from tests.pipeline_lib.data.real_sets import PICTURES, png

BYTES = [png(picture) for picture in PICTURES]


def test_classes_that_are_numbers_take_their_names_from_the_file(tmp_path: Path) -> None:
    features = {"kind": {"_type": "ClassLabel", "names": ["cat", "dog"]}, "image": {"_type": "Image"}}
    table = pa.table({"image": BYTES[:4], "kind": [1, 0, -1, None], "size": [1, 2, None, 4]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "a.parquet")
    reading = parquet(tmp_path / "a.parquet", None, ("size", "kind"))
    assert [tuple(sample.labels.values()) for sample in reading.samples] == [
        (1, "dog"), (2, "cat"), (None, None), (4, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["test-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"], ["test", "train", "train"]),
        (["data/validation-0", "data/train-0"], ["train", "test"]),
        (["a", "b"], [None, None]),
        (["train-0"], [None]),
    ],
)
def test_file_names_tell_the_split(tmp_path: Path, names: list[str], splits: list[str | None]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"image": BYTES[:1]}), tmp_path / f"{name}.parquet")
    assert [sample.split for sample in parquet(tmp_path, None, ()).samples] == splits


def test_columns_of_split_and_group_are_those_of_a_label_table(tmp_path: Path) -> None:
    table = pa.table(
        {"image": BYTES[:3], "split": ["test", None, " "], "group": ["a", "a", None], "k": [["x"], [], None]}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    reading = parquet(tmp_path, None, ("k",))
    assert [(sample.split, sample.group, sample.labels["k"]) for sample in reading.samples] == [
        ("test", "a", ["x"]), (None, "a", []), (None, None, None),
    ]  # fmt: skip


def test_rows_without_bytes_are_broken_and_paths_in_them_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(BYTES[0])
    images = [{"bytes": None, "path": str(tmp_path / "secret.png")}, {"bytes": BYTES[1], "path": "../../x"}, None]
    pq.write_table(pa.table({"image": images}), tmp_path / "a.parquet")
    first, second, third = parquet(tmp_path / "a.parquet", None, ()).samples
    assert second.load() == BYTES[1]
    for sample in (first, third):
        with pytest.raises(BrokenImageError, match="no bytes"):
            sample.load()


def test_the_column_of_images_can_be_chosen(tmp_path: Path) -> None:
    pq.write_table(pa.table({"front": BYTES[:2], "back": BYTES[2:4], "n": [1, 2]}), tmp_path / "a.parquet")
    assert parquet(tmp_path, None, ()).samples[0].load() == BYTES[0]
    reading = parquet(tmp_path, None, (), image="back")
    assert reading.samples[0].load() == BYTES[2] and reading.others == ("n",)
    with pytest.raises(UserError, match=r"no column 'bak' of encoded images.*did you mean 'back'"):
        parquet(tmp_path, None, (), image="bak")
    pq.write_table(pa.table({"n": [1, 2]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet has no column of encoded images"):
        parquet(tmp_path, None, ())


def test_a_real_set_is_read_as_it_is() -> None:
    file = Path(os.environ.get("GRAFTLINE_TEST_DATA", ""), "emoji/google.parquet")
    if not file.is_file():
        pytest.skip("GRAFTLINE_TEST_DATA names no folder with emoji/google.parquet")
    reading = parquet(file, None, ("category", "skin_tone"))
    table = pq.read_table(file).to_pylist()
    assert [(s.labels["category"], s.labels["skin_tone"]) for s in reading.samples] == [
        (row["category"], row["skin_tone"]) for row in table
    ]
    assert all(sample.load() == row["image"]["bytes"] for sample, row in zip(reading.samples, table, strict=True))
