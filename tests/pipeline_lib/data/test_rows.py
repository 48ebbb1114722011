from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline_lib.core.errors import UserError
from pipeline_lib.data import rows as rows_module
from pipeline_lib.data.dataset import ImageWriter
from pipeline_lib.data.rows import Images, Rows


@pytest.fixture
def parts(tmp_path: Path) -> tuple[list[Path], np.ndarray]:
    """Three files, one of them empty, and all of their images."""
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 2), np.uint8)
    paths = [tmp_path / f"{name}.npy" for name in "abc"]
    for path, part in zip(paths, (images[:7], images[7:7], images[7:]), strict=True):
        np.save(path, part)
    return paths, images


@pytest.mark.parametrize("most", [2**30, 10], ids=["whole", "piecemeal"])
@pytest.mark.parametrize(
    "which",
    [
        0, 6, 7, 19, -1, np.int64(8), slice(None), slice(5, 9), slice(3, 18, 4), slice(9, 3, -1), slice(4, 4),
        np.array([6, 7, 8]), np.array([19, 0, 0, 7, 6]), np.array([-1, -20]), np.array([], dtype=np.int64), [2, 12],
    ],
    ids=str,
)  # fmt: skip
def test_images_are_chosen_as_from_an_array(
    parts: tuple[list[Path], np.ndarray], which: object, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "MOST_BYTES", most)
    images = Images(*parts[0])
    assert images.shape == parts[1].shape and len(images) == 20
    found = images[which]
    assert found.dtype == np.uint8 and not isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, parts[1][which])


@pytest.mark.parametrize("which", [20, -21, np.array([0, 20]), np.array([-21]), np.array([True] * 20), 1.5], ids=str)
def test_an_image_that_there_is_not_is_an_error(parts: tuple[list[Path], np.ndarray], which: object) -> None:
    with pytest.raises(IndexError):
        Images(*parts[0])[which]


def test_rows_are_read_with_the_channels_first(parts: tuple[list[Path], np.ndarray]) -> None:
    chosen = np.array([3, 19, 8, 7, 3])
    rows = Rows(Images(*parts[0]), chosen)
    assert len(rows) == 5 and rows.shape == (5, 3, 4, 2) and rows.num_bytes == 5 * 24
    which = torch.tensor([4, 1, 2, 2])
    expected = torch.from_numpy(parts[1][chosen[which.numpy()]]).permute(0, 3, 1, 2)
    assert torch.equal(rows.read(which), expected)


@pytest.mark.parametrize("keep", [0, 5, 50, 128, 128 + 7 * 24 - 1])
def test_a_file_that_is_cut_short_is_refused(parts: tuple[list[Path], np.ndarray], keep: int) -> None:
    path = parts[0][0]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"a.npy .*run the ingest again"):
        Images(*parts[0])


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    with pytest.raises(UserError, match=r"images.npy is missing: run the ingest again"):
        Images(path)
    ordered = np.zeros((2, 2, 2, 1), np.uint8)
    for array in (ordered.astype(np.float32), ordered[0], np.asfortranarray(np.zeros((2, 3, 2, 1), np.uint8))):
        np.save(path, array)
        with pytest.raises(UserError, match="does not hold images as ingest writes them"):
            Images(path)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="run the ingest again"):
        Images(path)


def test_a_file_that_becomes_too_short_is_no_endless_read(parts: tuple[list[Path], np.ndarray]) -> None:
    images = Images(*parts[0])
    with parts[0][2].open("r+b") as file:
        file.truncate(200)
    with pytest.raises(OSError, match=r"c.npy ends before"):
        images[:]


def test_files_of_different_frames_are_refused(parts: tuple[list[Path], np.ndarray], tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", np.zeros((2, 3, 4, 3), np.uint8))
    with pytest.raises(UserError, match=r"a.npy has images of 3x4x2 and .*other.npy of 3x4x3: ingest"):
        Images(parts[0][0], tmp_path / "other.npy")


@pytest.mark.parametrize("num", [0, 1, 9, 10, 1234])
def test_images_written_a_few_at_a_time_are_the_bytes_of_all_at_once(tmp_path: Path, num: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (num, 5, 4, 3), np.uint8)
    with ImageWriter(tmp_path / "new/images.npy", (5, 4, 3)) as writer:
        for start in range(0, num, 7):
            writer.append(images[start : start + 7])
    np.save(tmp_path / "whole.npy", images)
    assert (tmp_path / "new/images.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    np.testing.assert_array_equal(Images(tmp_path / "new/images.npy")[:], images)


def test_the_writer_refuses_what_is_no_image_of_its_shape(tmp_path: Path) -> None:
    with ImageWriter(tmp_path / "images.npy", (5, 4, 3)) as writer:
        writer.append(np.zeros((1, 4, 5, 3), np.uint8).transpose(0, 2, 1, 3))
        for wrong in (np.zeros((1, 5, 4, 1), np.uint8), np.zeros((1, 5, 4, 3), np.float32)):
            with pytest.raises(ValueError, match="must be uint8"):
                writer.append(wrong)
    assert len(Images(tmp_path / "images.npy")) == 1
