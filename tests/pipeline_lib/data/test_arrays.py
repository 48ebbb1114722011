import gzip
import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.images import BrokenImageError
from pipeline_lib.data.readers.arrays import arrays
from pipeline_lib.data.readers.idx import idx
from tests.pipeline_lib.data.real_sets import PICTURES, idx_bytes


@pytest.mark.parametrize("order", ["{split}_{what}", "{what}_{split}"])
def test_names_of_arrays_tell_the_split(tmp_path: Path, order: str) -> None:
    content = {}
    for split, rows in (("train", slice(0, 6)), ("val", slice(6, 8)), ("test", slice(8, 12))):
        content[order.format(split=split, what="x")] = PICTURES[rows]
        content[order.format(split=split, what="y")] = np.arange(12)[rows]
    np.savez(tmp_path / "set.npz", **content)
    reading = arrays(tmp_path / "set.npz", None, ("y",))
    found = sorted((sample.labels["y"], sample.split) for sample in reading.samples)
    assert found == [(row, "test" if row >= 8 else "train") for row in range(12)]
    for sample in reading.samples:
        assert (np.asarray(sample.load()) == PICTURES[sample.labels["y"]]).all()


@pytest.mark.parametrize(
    ("array", "mode"),
    [
        (np.zeros((2, 5, 4), np.uint8), "L"),
        (np.zeros((2, 5, 4, 1), np.uint8), "L"),
        (np.zeros((2, 5, 4, 3), np.uint8), "RGB"),
        (np.zeros((2, 5, 4, 4), np.uint8), "RGBA"),
        (np.zeros((2, 5, 4), np.uint16), "I;16"),
        (np.zeros((2, 5, 4), ">u2"), "I;16B"),
        (np.ones((2, 5, 4), bool), "L"),
    ],
)
def test_shapes_and_types(tmp_path: Path, array: np.ndarray, mode: str) -> None:
    np.save(tmp_path / "x.npy", array)
    picture = arrays(tmp_path / "x.npy", None, ()).samples[1].load()
    assert picture.mode == mode and picture.size == (4, 5)
    if array.dtype == bool:
        assert picture.getextrema() == (255, 255)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": np.zeros((2, 3, 5, 5), np.uint8)}, r"has the shape \[2, 3, 5, 5\]: save it as \[N, H, W, C\]"),
        ({"x": np.zeros((2, 5, 5), np.float32)}, "is float32, which does not say what is black"),
        ({"x": np.zeros((2, 5, 5, 3), np.uint16)}, "is uint16, which"),
        ({"y": np.zeros(2)}, "holds no images"),
        ({"x": PICTURES, "z": PICTURES}, r"holds x, z, each of which may be images: write options"),
        ({"x": np.asfortranarray(np.zeros((2, 3, 4), np.uint8))}, "stored by columns"),
        ({"x": np.array([{}, {}], dtype=object)}, "pickled objects, which may run any code"),
        ({"x": PICTURES, "y": np.array([{}] * 12, dtype=object)}, "pickled objects"),
    ],
)
def test_what_is_unclear_or_unsafe_is_refused(tmp_path: Path, content: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "set.npz", **content)
    with pytest.raises(UserError, match=message):
        arrays(tmp_path, None, ("y",))


def test_the_array_of_images_can_be_chosen(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=PICTURES, masks=PICTURES[:, ::-1])
    sample = arrays(tmp_path, None, (), images="masks").samples[0]
    assert (np.asarray(sample.load()) == PICTURES[0, ::-1]).all()
    with pytest.raises(UserError, match=r"holds no array of images 'mask'; there are masks, x; did you mean 'masks'"):
        arrays(tmp_path, None, (), images="mask")


def test_a_header_cannot_claim_more_images_than_the_file_can_hold(tmp_path: Path) -> None:
    header = io.BytesIO()
    shape = (2**40, 8, 8)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    (tmp_path / "x.npy").write_bytes(header.getvalue())
    with pytest.raises(UserError, match="cut short"):
        arrays(tmp_path / "x.npy", None, ())
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue())
    with pytest.raises(UserError, match="cut short"):
        arrays(tmp_path / "x.npz", None, ())
    (tmp_path / "images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + b"\xff" * 4 + b"\0\0\0\x08" * 2))
    with pytest.raises(UserError, match="cut short"):
        idx(tmp_path, None, ())


def test_names_in_an_archive_reach_no_file(tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, PICTURES)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("../../x\n.npy", array.getvalue())
    (sample, *_) = arrays(tmp_path / "x.npz", None, ()).samples
    assert (np.asarray(sample.load()) == PICTURES[0]).all() and sample.path == r"x.npz/../../x\n/0000000"


def test_mnist_as_it_comes(tmp_path: Path) -> None:
    for split, rows in (("train", slice(0, 8)), ("t10k", slice(8, 12))):
        labels = np.arange(12, dtype=np.uint8)[rows]
        (tmp_path / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(PICTURES[rows])))
        (tmp_path / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    reading = idx(tmp_path, None, ("label",))
    assert [sample.labels["label"] for sample in reading.samples] == [8, 9, 10, 11, *range(8)]
    assert [sample.split for sample in reading.samples] == ["test"] * 4 + ["train"] * 8
    for sample in reading.samples:
        assert (np.asarray(sample.load()) == PICTURES[sample.labels["label"]]).all()


def test_idx_images_need_no_labels_but_as_many_as_there_are_images(tmp_path: Path) -> None:
    (tmp_path / "a-images.idx3-ubyte").write_bytes(idx_bytes(PICTURES))
    assert idx(tmp_path, None, ("label",)).labels == ()
    (tmp_path / "a-labels.idx1-ubyte").write_bytes(idx_bytes(np.zeros(11, np.uint8)))
    with pytest.raises(UserError, match="holds 11 labels for the 12 images"):
        idx(tmp_path, None, ("label",))
    (tmp_path / "a-images.idx3-ubyte").write_bytes(b"not idx")
    with pytest.raises(UserError, match="does not begin as an IDX file"):
        idx(tmp_path, None, ("label",))


def test_images_before_the_damage_are_read(tmp_path: Path) -> None:
    whole = gzip.compress(idx_bytes(PICTURES), compresslevel=0)
    (tmp_path / "images-idx3-ubyte.gz").write_bytes(whole[: len(whole) // 2])
    first, *_, last = idx(tmp_path, None, ()).samples
    assert (np.asarray(first.load()) == PICTURES[0]).all()
    with pytest.raises(BrokenImageError, match=r"damaged|ends before"):
        last.load()


@pytest.mark.parametrize("form", ["npz", "npy", "idx", "idx.gz"])
def test_no_more_than_a_picture_is_held_at_a_time(tmp_path: Path, form: str) -> None:
    pictures = np.random.default_rng(0).integers(0, 4, (500, 64, 64), np.uint8)
    if form == "npz":
        np.savez_compressed(tmp_path / "x.npz", x=pictures)
    elif form == "npy":
        np.save(tmp_path / "x.npy", pictures)
    else:
        content = idx_bytes(pictures)
        (tmp_path / f"images.{form}").write_bytes(gzip.compress(content) if form == "idx.gz" else content)
    read = arrays if form.startswith("np") else idx
    read(tmp_path, None, ()).samples[0].load()
    tracemalloc.start()
    for row, sample in enumerate(read(tmp_path, None, ()).samples):
        assert row % 100 or (np.asarray(sample.load()) == pictures[row]).all()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pictures.nbytes / 2
