"""What holds of every reader of the user's own data."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.images import BrokenImageError, decode
from pipeline_lib.data.readers import READERS
from pipeline_lib.data.samples import Reading
from tests.pipeline_lib.data.pictures import run
from tests.pipeline_lib.data.real_sets import CLASSES, NUM, PICTURES, SETS

EMBEDDED = {"digits", "mnist5k"}
each_set = pytest.mark.parametrize("form", SETS)


def read(form: str, path: Path, write: bool = True, labels: bool = True) -> tuple[Reading, str]:
    reader, writer, table = SETS[form]
    label = writer(path) if write else {"class_folders": "label", "idx": "label"}.get(form, "kind")
    return READERS[reader](path, table, (label,) if labels else ()), label


def test_every_reader_is_held_to_this() -> None:
    assert {reader for reader, _, _ in SETS.values()} | EMBEDDED == READERS.keys()


@each_set
def test_pictures_and_labels_are_those_that_were_written(tmp_path: Path, form: str) -> None:
    reading, label = read(form, tmp_path / "set")
    assert reading.labels == (label,) and len(reading.samples) == NUM
    order = sorted(range(NUM), key=lambda row: CLASSES[row]) if form == "class_folders" else range(NUM)
    for row, sample in zip(order, reading.samples, strict=True):
        assert (np.asarray(decode(sample.load())) == PICTURES[row]).all()
        told = sample.labels[label]
        assert (sorted(set(CLASSES))[told] if form == "idx" else told) == CLASSES[row]
        assert sample.split is None and sample.path.isprintable()
    assert len({sample.path for sample in reading.samples}) == NUM


@each_set
def test_they_are_loaded_when_asked_for_in_any_order_and_again(tmp_path: Path, form: str) -> None:
    reading, _ = read(form, tmp_path / "set")
    first = [np.asarray(decode(sample.load())) for sample in reading.samples]
    for row in [*np.random.default_rng(0).permutation(NUM), 5, 5, 6, 0]:
        assert (np.asarray(decode(reading.samples[row].load())) == first[row]).all()
    shutil.rmtree(tmp_path / "set")
    if not reading.in_order:
        with pytest.raises(BrokenImageError):
            reading.samples[0].load()


@each_set
def test_the_same_set_is_the_same_samples(tmp_path: Path, form: str) -> None:
    one, _ = read(form, tmp_path / "set")
    two, _ = read(form, tmp_path / "set", write=False)
    for first, second in zip(one.samples, two.samples, strict=True):
        assert (first.path, first.labels, first.split, first.group) == (
            second.path, second.labels, second.split, second.group,
        )  # fmt: skip


@each_set
def test_the_artifact_does_not_depend_on_threads_or_the_order_of_folders(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, label = read(form, tmp_path / "set")
    run(tmp_path / "one", reading, {label: "multiclass"}, workers=1)
    walk = __import__("os").walk

    def other_way_round(*arguments: object, **options: object) -> object:
        for name, folders, files in walk(*arguments, **options):
            folders.reverse()
            yield name, folders, files[::-1]

    monkeypatch.setattr("os.walk", other_way_round)
    again, _ = read(form, tmp_path / "set", write=False)
    run(tmp_path / "two", again, {label: "multiclass"}, workers=5)
    for name in ("images.npy", "table.parquet", "card.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@each_set
def test_a_label_that_is_not_asked_for_is_offered(tmp_path: Path, form: str) -> None:
    reading, label = read(form, tmp_path / "set", labels=False)
    assert reading.labels == () and label in reading.others
    assert all(not sample.labels for sample in reading.samples)


@each_set
def test_what_is_missing_or_empty_is_one_sentence(tmp_path: Path, form: str) -> None:
    reader, _, table = SETS[form]
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(UserError, match=str(path)) as caught:
            READERS[reader](path, table, ())
        assert "\n" not in str(caught.value)


@each_set
def test_damage_is_quarantined_or_one_sentence(tmp_path: Path, form: str) -> None:
    """Of each file, the first half, its middle overwritten, and nothing at all."""
    reader, writer, table = SETS[form]
    writer(tmp_path / "set")
    files = [file for file in (tmp_path / "set").rglob("*") if file.is_file()]
    for file in files[:3]:
        whole = file.read_bytes()
        half = len(whole) // 2
        for content in (whole[:half], whole[: half - 20] + bytes(40) + whole[half + 20 :], b"", b"\xff" * 99):
            file.write_bytes(content)
            try:
                reading = READERS[reader](tmp_path / "set", table, ("kind", "label"))
                for sample in reading.samples:
                    try:
                        assert isinstance(decode(sample.load()), Image.Image)
                    except BrokenImageError as error:
                        assert "\n" not in str(error)
            except UserError as error:
                assert "\n" not in str(error)
        file.write_bytes(whole)


@each_set
def test_links_out_and_hidden_files_are_not_read(tmp_path: Path, form: str) -> None:
    reader, writer, table = SETS[form]
    writer(tmp_path / "set")
    writer(tmp_path / "other")
    for file in (tmp_path / "other").iterdir():
        (tmp_path / "set" / f"link-{file.name}").symlink_to(file)
        if file.is_file():
            shutil.copy(file, tmp_path / "set" / f".hidden-{file.name}")
    reading = READERS[reader](tmp_path / "set", table, ())
    loaded = 0
    for sample in reading.samples:
        try:
            sample.load()
            loaded += 1
        except BrokenImageError as error:
            assert str(error) == "a link out of the folder"
    assert loaded == NUM and (reading.passed_over or len(reading.samples) == 2 * NUM)


@pytest.mark.parametrize(
    "form", [form for form, (_, _, table) in SETS.items() if table is None and "folder" not in form]
)
def test_a_set_that_holds_its_labels_takes_no_table(tmp_path: Path, form: str) -> None:
    reader, writer, _ = SETS[form]
    writer(tmp_path / "set")
    with pytest.raises(UserError, match="set labels to null"):
        READERS[reader](tmp_path / "set", "labels.csv", ())
