import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.dataset import present_labels, read_dataset, write_dataset
from pipeline_lib.data.images import BrokenImageError
from pipeline_lib.data.ingest import class_name, ingest, natural_key, split_of
from pipeline_lib.data.samples import Reading, Sample

SETTINGS: dict[str, Any] = {
    "size": 8, "channels": 1, "content": 8, "background": 0, "invert": False, "max_broken": 0.5,
    "test_fraction": 0.3, "limit": None, "seed": 0,
}  # fmt: skip


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(value).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def loader(content: bytes | Image.Image) -> Callable[[], bytes | Image.Image]:
    return lambda: content


def reading_of(contents: list[Any], labels: dict[str, list[Any]] | None = None, **columns: list[Any]) -> Reading:
    labels = labels or {}
    samples = [
        Sample(
            f"{index}.png",
            loader(content),
            {name: values[index] for name, values in labels.items()},
            **{name: values[index] for name, values in columns.items()},
        )
        for index, content in enumerate(contents)
    ]
    return Reading(samples, tuple(labels))


def run(reading: Reading, kinds: dict[str, str] | None = None, **changes: Any) -> tuple:
    return ingest(reading, kinds or {}, **{**SETTINGS, **changes})


def test_images_and_table_are_in_the_order_of_samples_and_broken_ones_left_out() -> None:
    def unreadable() -> bytes:
        raise BrokenImageError("cannot be read")

    contents = [png(0), b"", png(1), b"text", png(2)]
    reading = reading_of(contents, {"kind": list("abcde")})
    reading.samples.append(Sample("last.png", unreadable, {"kind": "f"}))
    images, table, card = run(reading, {"kind": "multiclass"})
    assert images.shape == (3, 8, 8, 1) and images.dtype == np.uint8
    for row, content in enumerate((png(0), png(1), png(2))):
        assert (images[row, ..., 0] == np.asarray(Image.open(io.BytesIO(content)))).all()
        assert table["sha256"][row] == hashlib.sha256(content).hexdigest()
    assert list(table["path"]) == ["0.png", "2.png", "4.png"]
    assert list(table["label.kind"]) == ["a", "c", "e"]
    assert table["id"].is_unique
    assert [broken["path"] for broken in card["quarantined"]] == ["1.png", "3.png", "last.png"]
    assert [broken["reason"] for broken in card["quarantined"]][::2] == ["empty file", "cannot be read"]


@pytest.mark.parametrize("max_broken", [0.0, 0.3, 1.0])
def test_too_many_broken_images_are_an_error(max_broken: float) -> None:
    with pytest.raises(UserError, match=r"[24] of 4 images are broken \([01].png: .*max_broken"):
        run(reading_of([png(0), b"", b"", png(1)] if max_broken < 1 else [b""] * 4), max_broken=max_broken)


def test_the_card_describes_what_was_read() -> None:
    contents = [Image.new("RGB", (4, 2), "red"), Image.new("L", (8, 8), 255), png(0)]
    images, _, card = run(reading_of(contents))
    assert card["converted"] == {"RGB": 1}
    assert card["original_sizes"] == {"4x2": 1, "8x8": 2}
    assert card["num_images"] == 3 and card["shape"] == [3, 8, 8, 1]
    np.testing.assert_allclose(card["mean"], images.mean(axis=(0, 1, 2)) / 255)
    np.testing.assert_allclose(card["std"], images.std(axis=(0, 1, 2)) / 255)


def test_a_blank_image_is_flagged() -> None:
    assert list(run(reading_of([Image.new("L", (8, 8), 9), png(0)]))[1]["flags"]) == ["blank", ""]


def test_classes_are_text_in_natural_order_and_nulls_stay() -> None:
    contents = [png(index) for index in range(6)]
    labels = {"kind": [10, 9.0, "9", None, "a2", True], "size": ["1.5", 2, None, float("nan"), "nan", np.float32(3)]}
    _, table, card = run(reading_of(contents, labels), {"size": "regression", "kind": "multiclass", "other": "binary"})
    assert [None if pd.isna(value) else value for value in table["label.kind"]] == ["10", "9", "9", None, "a2", "True"]
    assert card["labels"]["kind"] == {
        "kind": "multiclass", "classes": ["9", "10", "True", "a2"], "counts": [2, 1, 1, 1], "num_labelled": 5,
        "num_missing": 1,
    }  # fmt: skip
    np.testing.assert_array_equal(table["label.size"], [1.5, 2, np.nan, np.nan, np.nan, 3])
    assert card["labels"]["size"]["mean"] == pytest.approx(6.5 / 3) and card["labels"]["size"]["num_missing"] == 3
    assert "other" not in card["labels"]


@pytest.mark.parametrize("value", ["thick", "inf", -np.inf, [1]])
def test_a_regression_label_that_is_no_number_is_an_error(value: Any) -> None:
    with pytest.raises(UserError, match="the label 'size' holds"):
        run(reading_of([png(0), png(1)], {"size": [1.0, value]}), {"size": "regression"})


def test_a_label_without_any_value_is_described() -> None:
    labels = {"kind": [None, None], "size": [None, None]}
    card = run(reading_of([png(0), png(1)], labels), {"kind": "binary", "size": "regression"})[2]
    assert card["labels"]["kind"]["classes"] == [] and card["labels"]["size"]["num_labelled"] == 0


@pytest.mark.parametrize("text", ["²", "x" * 10, "9" * 5000, "", "٣", "1²2"])
def test_any_class_name_can_be_sorted(text: str) -> None:
    assert sorted([text, "10", "9", "a10", "a9"], key=natural_key)


def test_natural_order_counts() -> None:
    names = ["a10", "10", "2", "007", "a9", "1", "b"]
    assert sorted(names, key=natural_key) == ["1", "2", "007", "10", "a9", "a10", "b"]
    assert [class_name(value) for value in (1.0, np.float64(2), 1.5, np.int64(3), "x")] == ["1", "2", "1.5", "3", "x"]


def test_the_split_is_by_content_and_independent_of_the_others() -> None:
    keys = [f"k{index}" for index in range(4000)]
    split = split_of(keys, 0.3, seed=1)
    assert abs(split.count("test") / len(keys) - 0.3) < 0.03
    assert split_of(keys[1000:], 0.3, seed=1) == split[1000:]
    assert split_of(keys, 0.3, seed=2) != split
    again = dict(zip(keys, split_of(keys, 0.5, seed=1), strict=True))
    assert all(again[key] == "test" for key, old in zip(keys, split, strict=True) if old == "test")


def test_equal_bytes_fall_into_one_split() -> None:
    table = run(reading_of([png(index % 20) for index in range(40)]))[1]
    assert set(table["split"]) == {"train", "test"}
    assert table.groupby("sha256")["split"].nunique().max() == 1


@pytest.mark.parametrize("groups", [[0, 1, 2], ["0", "1", "2"], [0.0, 1.0, None]], ids=str)
def test_a_group_falls_into_one_split_whatever_its_type(groups: list[Any]) -> None:
    drawn = [groups[index % 3] for index in range(60)]
    table = run(reading_of([png(index) for index in range(60)], group=drawn), seed=3)[1]
    assert table.groupby("group")["split"].nunique().max() == 1
    assert set(table["group"].dropna()) == {class_name(group) for group in groups if group is not None}


def test_a_given_split_is_kept_but_must_not_tear_a_group() -> None:
    contents = [png(0), png(1), png(2)]
    assert list(run(reading_of(contents, split=["test", "train", "test"]))[1]["split"]) == ["test", "train", "test"]
    with pytest.raises(UserError, match="the group 'g' is in the train and in the test split"):
        run(reading_of(contents, split=["test", "train", "test"], group=["g", "g", None]))


def test_limit_takes_that_many_at_random_and_always_the_same() -> None:
    reading = reading_of([png(index) for index in range(30)])
    first, again, other = (list(run(reading, limit=10, seed=seed)[1]["path"]) for seed in (0, 0, 1))
    assert len(first) == 10 and first == again != other
    assert first == sorted(first, key=natural_key) != [f"{index}.png" for index in range(10)]
    assert len(run(reading, limit=100)[1]) == 30


def test_content_larger_than_the_frame_is_an_error() -> None:
    with pytest.raises(UserError, match=r"content is 9 px, but the frame is image\.size = 8 px"):
        run(reading_of([png(0)]), content=9)


def test_a_dataset_is_read_with_the_labels_asked_for_alone(tmp_path: Path) -> None:
    labels = {"kind": ["a", None, "<b>"], "size": [1.0, 2.0, None]}
    written = run(
        reading_of([png(0), png(1), png(2)], labels, split=["train", "test", "train"]),
        {"kind": "binary", "size": "regression"},
    )
    for folder in ("one", "two"):
        write_dataset(tmp_path / folder, *written)
    for name in ("images.npy", "table.parquet", "card.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    dataset = read_dataset(tmp_path / "one", ["kind"])
    assert isinstance(dataset.images, np.memmap) and (dataset.images == written[0]).all()
    assert dataset.labels == ["kind"] and "label.size" not in dataset.table
    assert [value if isinstance(value, str) else None for value in dataset.label("kind")] == ["a", None, "<b>"]
    assert list(dataset.rows("train")) == [0, 2] and len(dataset) == 3
    assert present_labels(tmp_path / "one", ["other", "size", "kind"]) == ["size", "kind"]
    assert read_dataset(tmp_path / "one").labels == []
    with pytest.raises(UserError, match="no label 'knd': it has kind, size; did you mean 'kind'"):
        read_dataset(tmp_path / "one", ["knd"])
