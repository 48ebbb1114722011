import hashlib
import io
import threading
import time
import tracemalloc
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.files import read_json
from pipeline_lib.data.images import BrokenImageError
from pipeline_lib.data.samples import Reading, Sample
from tests.pipeline_lib.data.pictures import plain, png, reading_of, run


def test_images_and_table_are_in_the_order_of_samples_and_broken_ones_left_out(tmp_path: Path) -> None:
    def unreadable() -> bytes:
        raise BrokenImageError("cannot be read")

    contents = [png(0), b"", png(1), b"text", png(2)]
    reading = reading_of(contents, {"kind": list("abcde")})
    reading.samples.append(Sample("last.png", unreadable, {"kind": "f"}))
    dataset = run(tmp_path, reading, {"kind": "multiclass"})
    assert dataset.images.shape == (3, 8, 8, 1)
    for row, content in enumerate((png(0), png(1), png(2))):
        assert (dataset.images[row][..., 0] == np.asarray(Image.open(io.BytesIO(content)))).all()
        assert dataset.table["sha256"][row] == hashlib.sha256(content).hexdigest()
    assert list(dataset.table["path"]) == ["0.png", "2.png", "4.png"]
    assert list(dataset.table["label.kind"]) == ["a", "c", "e"]
    assert dataset.table["id"].is_unique
    assert [broken["path"] for broken in dataset.card["quarantined"]] == ["1.png", "3.png", "last.png"]
    assert [broken["reason"] for broken in dataset.card["quarantined"]][::2] == ["empty file", "cannot be read"]


@pytest.mark.parametrize("max_broken", [0.0, 0.3, 1.0])
def test_too_many_broken_images_are_an_error(tmp_path: Path, max_broken: float) -> None:
    contents = [png(0), b"", b"", png(1)] if max_broken < 1 else [b""] * 4
    with pytest.raises(UserError, match=r"[24] of 4 images are broken \([01].png: .*max_broken"):
        run(tmp_path, reading_of(contents), max_broken=max_broken)


def test_a_dataset_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the dataset has no image"):
        run(tmp_path, Reading([], ()))


def test_one_image_makes_a_dataset(tmp_path: Path) -> None:
    dataset = run(tmp_path, reading_of([png(0)], {"kind": ["a"]}), {"kind": "binary"})
    assert dataset.card["splits"] == {"test": 1} and dataset.card["num_images"] == 1


def test_the_card_describes_what_was_read(tmp_path: Path) -> None:
    contents = [Image.new("RGB", (4, 2), "red"), Image.new("L", (8, 8), 255), png(0)]
    reading = reading_of(contents)
    reading = Reading(reading.samples, (), passed_over={".heic": 2}, notes=("a note",))
    dataset = run(tmp_path, reading, channels=3, about={"reader": "folder"})
    card, images = dataset.card, dataset.images[:]
    assert card["converted"] == {"L": 2}
    assert card["original_sizes"] == {"4x2": 1, "8x8": 2}
    assert card["num_images"] == 3 and card["shape"] == [3, 8, 8, 3]
    np.testing.assert_allclose(card["mean"], images.mean(axis=(0, 1, 2)) / 255)
    np.testing.assert_allclose(card["std"], images.std(axis=(0, 1, 2)) / 255)
    assert card["reader"] == "folder" and card["passed_over"] == {".heic": 2} and card["notes"] == ["a note"]
    assert read_json(tmp_path / "card.json") == card


def test_a_blank_image_is_flagged(tmp_path: Path) -> None:
    dataset = run(tmp_path, reading_of([Image.new("L", (8, 8), 9), png(0)]))
    assert list(dataset.table["flags"]) == ["blank", ""]


def test_equal_readings_give_equal_bytes(tmp_path: Path) -> None:
    labels = {"kind": ["a", None, "<b>"] * 9, "size": [1.0, 2.0, None] * 9}
    for folder in ("one", "two"):
        reading = reading_of([png(index) for index in range(27)], labels)
        run(tmp_path / folder, reading, {"kind": "binary", "size": "regression"})
    for name in ("images.npy", "table.parquet", "card.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("in_order", [False, True])
def test_the_bytes_do_not_depend_on_the_number_of_threads(tmp_path: Path, in_order: bool) -> None:
    def late(content: bytes, seconds: float) -> bytes:
        time.sleep(seconds)
        return content

    contents = [png(index) if index % 7 else b"no picture" for index in range(200)]
    waits = np.random.default_rng(0).uniform(0, 0.002, len(contents))
    samples = [
        Sample(f"{index}.png", partial(late, content, wait), {"size": index})
        for index, (content, wait) in enumerate(zip(contents, waits, strict=True))
    ]
    for workers in (1, 2, 7, None):
        run(
            tmp_path / str(workers),
            Reading(samples, ("size",), in_order=in_order),
            {"size": "regression"},
            workers=workers,
        )
    for name in ("images.npy", "table.parquet", "card.json"):
        assert len({(tmp_path / str(workers) / name).read_bytes() for workers in (1, 2, 7, None)}) == 1


def test_streams_are_loaded_in_their_order_by_one_thread(tmp_path: Path) -> None:
    loaded: list[tuple[int, int]] = []

    def load(index: int) -> bytes:
        loaded.append((index, threading.get_ident()))
        return png(index)

    samples = [Sample(f"{index}.png", partial(load, index)) for index in range(100)]
    run(tmp_path, Reading(samples, (), in_order=True), workers=4)
    assert loaded == [(index, threading.get_ident()) for index in range(100)]


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    num, side, content = 300, 128, png(0, side=4)
    reading = Reading([Sample(f"{index}.png", lambda: content) for index in range(num)], ())
    run(tmp_path / "warm", reading_of([content]))
    tracemalloc.start()
    run(tmp_path / "images", reading, size=side, content=side, workers=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "images/images.npy").stat().st_size > num * side**2
    assert peak < num * side**2 / 4


def test_classes_are_text_in_natural_order_and_nulls_stay(tmp_path: Path) -> None:
    contents = [png(index) for index in range(6)]
    labels = {
        "kind": [10, 9.0, "9", None, "a2", True],
        "size": ["1.5", 2, None, float("nan"), " ", np.float32(3)],
        "tags": ["b;a", ";", None, "a", "", "a10;a9"],
    }
    dataset = run(
        tmp_path, reading_of(contents, labels), {"size": "regression", "kind": "multiclass", "tags": "multilabel"}
    )
    card, table = dataset.card, dataset.table
    assert plain(table["label.kind"]) == ["10", "9", "9", None, "a2", "True"]
    assert card["labels"]["kind"] == {
        "kind": "multiclass", "classes": ["9", "10", "True", "a2"], "counts": [2, 1, 1, 1], "num_labelled": 5,
        "num_missing": 1,
    }  # fmt: skip
    np.testing.assert_array_equal(table["label.size"], [1.5, 2, np.nan, np.nan, np.nan, 3])
    assert card["labels"]["size"]["mean"] == pytest.approx(6.5 / 3) and card["labels"]["size"]["num_missing"] == 3
    assert plain(table["label.tags"]) == ["a;b", ";", None, "a", None, "a9;a10"]
    assert card["labels"]["tags"]["classes"] == ["a", "a9", "a10", "b"]
    assert card["labels"]["tags"]["counts"] == [2, 1, 1, 1] and card["labels"]["tags"]["num_labelled"] == 4


@pytest.mark.parametrize("value", ["thick", "inf", -np.inf, [1], "nan", "NaN"])
def test_a_regression_label_that_is_no_number_is_an_error(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError, match=r"the label 'size' holds .*, which is no finite number: .*regression"):
        run(tmp_path, reading_of([png(0), png(1)], {"size": [1.0, value]}), {"size": "regression"})


def test_blanks_around_a_class_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    labels = {"kind": ["1 ", "1", "\t2", None], "size": [" 1.5", "2", "3", "4"]}
    reading = reading_of([png(index) for index in range(4)], labels)
    dataset = run(tmp_path, reading, {"kind": "multiclass", "size": "regression"})
    assert dataset.card["labels"]["kind"]["classes"] == ["1", "2"]
    assert dataset.card["notes"] == ["label 'kind': 2 values have blanks around them, which are left out: '1 ' is '1'"]


def test_a_label_without_any_value_is_described(tmp_path: Path) -> None:
    labels = {"kind": [None, None], "size": [None, None]}
    card = run(tmp_path, reading_of([png(0), png(1)], labels), {"kind": "binary", "size": "regression"}).card
    assert card["labels"]["kind"]["classes"] == [] and card["labels"]["size"]["num_labelled"] == 0
    assert card["notes"] == []


def test_a_label_that_there_is_not_is_not_labelled_and_the_nearest_name_is_said(tmp_path: Path) -> None:
    reading = reading_of([png(0), png(1)], {"size": [1, 2]})
    reading = Reading(reading.samples, ("size",), {"width": lambda image: float(image.max())}, others=("colour", "x"))
    card = run(tmp_path, reading, {"size": "regression", "color": "binary", "widht": "regression", "q": "binary"}).card
    assert set(card["labels"]) == {"size"}
    assert [note.partition("'")[2] for note in card["notes"]] == [
        "color', because there is no column of this name; did you mean 'colour'?",
        "widht', because there is no column of this name; did you mean 'width'?",
        "q', because there is no column of this name",
    ]
    assert run(tmp_path, reading_of([png(0)]), {"kind": "binary"}).card["notes"] == ["nothing here is labelled"]


def test_a_measure_is_taken_of_the_framed_image(tmp_path: Path) -> None:
    reading = reading_of([Image.new("L", (8, 8), value) for value in (9, 20, 0)])
    reading = Reading(reading.samples, (), {"light": lambda image: float(image.max()) or None})
    dataset = run(tmp_path, reading, {"light": "regression"}, size=10, background=12)
    np.testing.assert_array_equal(dataset.table["label.light"], [12, 20, 12])


def test_equal_bytes_fall_into_one_split(tmp_path: Path) -> None:
    table = run(tmp_path, reading_of([png(index % 20) for index in range(40)])).table
    assert set(table["split"]) == {"train", "test"}
    assert table.groupby("sha256")["split"].nunique().max() == 1


@pytest.mark.parametrize(
    "groups", [[0, 1, 2], ["0", "1", "2"], ["p", "p ", "q"], [0.0, 1.0, None], ["a", " ", float("nan")]], ids=str
)
def test_a_group_falls_into_one_split_whatever_its_type(tmp_path: Path, groups: list[Any]) -> None:
    drawn = [groups[index % 3] for index in range(60)]
    table = run(tmp_path, reading_of([png(index) for index in range(60)], group=drawn), seed=3).table
    assert table.groupby("group")["split"].nunique().max() == 1
    assert set(table["split"]) == {"train", "test"}
    expected = {"p": {"p", "q"}, "a": {"a"}, 0.0: {"0", "1"} if None in groups else {"0", "1", "2"}}
    assert set(table["group"].dropna()) == expected.get(groups[0], {"0", "1", "2"})


def test_a_given_split_is_kept_but_must_not_tear_a_group(tmp_path: Path) -> None:
    contents = [png(0), png(1), png(2)]
    sides = ["test", "train", "test"]
    assert list(run(tmp_path, reading_of(contents, split=sides)).table["split"]) == sides
    with pytest.raises(UserError, match="the group 'g' is in the train and in the test split"):
        run(tmp_path, reading_of(contents, split=sides, group=["g", "g", None]))


def test_the_split_is_stratified_by_the_first_label_with_classes_that_is_given(tmp_path: Path) -> None:
    contents = [png(index) for index in range(100)]
    labels = {
        "size": [float(index) for index in range(100)],
        "unknown": [None] * 100,
        "rare": ["yes" if index < 10 else "no" for index in range(100)],
        "other": [str(index % 2) for index in range(100)],
    }
    kinds = {"size": "regression", "unknown": "binary", "rare": "binary", "other": "multiclass"}
    table = run(tmp_path, reading_of(contents, labels), kinds, test_fraction=0.4).table
    assert Counter(table.loc[table["split"] == "test", "label.rare"]) == {"yes": 4, "no": 36}
    # Left to itself the split does not know the labels.
    first, shuffled = (
        run(tmp_path, reading_of(contents, {"rare": values}), kinds, stratify=False).table["split"]
        for values in (labels["rare"], labels["rare"][::-1])
    )
    assert list(first) == list(shuffled)


def test_limit_takes_that_many_at_random_and_always_the_same(tmp_path: Path) -> None:
    reading = reading_of([png(index) for index in range(30)])
    first, again, other = (list(run(tmp_path, reading, limit=10, seed=seed).table["path"]) for seed in (0, 0, 1))
    assert len(first) == 10 and first == again != other
    numbers = [int(path.removesuffix(".png")) for path in first]
    assert numbers == sorted(numbers) != list(range(10))
    assert len(run(tmp_path, reading, limit=100).table) == 30


def test_content_larger_than_the_frame_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"content = 9 px does not fit into the frame of size = 8 px"):
        run(tmp_path, reading_of([png(0)]), content=9)
