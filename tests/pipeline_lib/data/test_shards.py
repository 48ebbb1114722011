import io
import tarfile
from pathlib import Path

import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.images import BrokenImageError
from pipeline_lib.data.readers.shards import shards
from tests.pipeline_lib.data.real_sets import PICTURES, png, tar

BYTES = [png(picture) for picture in PICTURES]


def test_files_of_one_name_are_one_sample(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", {
        "x/1.cls": b" 7\n", "x/1.PNG": BYTES[1], "2.png": BYTES[2], "2.json": b'{"size": 3, "tags": ["a"], "o": {}}',
        "3.txt": b"no image", "4.mp4": b"", "1.png": BYTES[4],
    })  # fmt: skip
    reading = shards(tmp_path, None, ("cls", "size", "tags", "missing"))
    assert {sample.path: tuple(sample.labels.values()) for sample in reading.samples} == {
        "a.tar/x/1.PNG": ("7", None, None, None),
        "a.tar/2.png": (None, 3, ["a"], None),
        "a.tar/1.png": (None, None, None, None),
    }
    assert [sample.load() for sample in reading.samples] == [BYTES[1], BYTES[2], BYTES[4]]
    assert reading.labels == ("cls", "size", "tags") and reading.others == ("txt",)
    assert reading.passed_over == {".mp4": 1, "sample without an image": 2}


def test_file_names_tell_the_split(tmp_path: Path) -> None:
    for name in ("set-train-000", "set-train-001", "set-val-000"):
        tar(tmp_path / f"{name}.tar", {"1.png": BYTES[0]})
    assert [sample.split for sample in shards(tmp_path, None, ()).samples] == ["train", "train", "test"]


def test_names_reach_nothing_and_links_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(BYTES[0])
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"{kind!r}.png")
            info.type, info.linkname = kind, str(tmp_path / "secret.png")
            archive.addfile(info)
        for name in ("../../up.png", "/etc/absolute.png", "line\nbreak.png"):
            info = tarfile.TarInfo(name)
            info.size = len(BYTES[1])
            archive.addfile(info, io.BytesIO(BYTES[1]))
    before = sorted(tmp_path.iterdir())
    reading = shards(tmp_path / "a.tar", None, ())
    assert [sample.path for sample in reading.samples] == [
        "a.tar/../../up.png", "a.tar//etc/absolute.png", r"a.tar/line\nbreak.png",
    ]  # fmt: skip
    assert all(sample.load() == BYTES[1] for sample in reading.samples)
    assert reading.passed_over == {"link or other than a file": 3} and sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"1.txt": b"x"}, "holds no sample with an image"),
        ({"1.png": BYTES[0], "1.json": b"{"}, r"a \.json in it is none"),
        ({"1.png": BYTES[0], "1.json": b"[" * 10**6}, r"a \.json in it is none"),
    ],
)
def test_what_no_shard_should_hold_is_one_sentence(tmp_path: Path, content: dict[str, bytes], message: str) -> None:
    tar(tmp_path / "a.tar", content)
    with pytest.raises(UserError, match=message):
        shards(tmp_path, None, ())


def test_a_name_that_comes_twice_and_a_compressed_shard_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for _ in range(2):
            info = tarfile.TarInfo("1.png")
            archive.addfile(info, io.BytesIO())
    with pytest.raises(UserError, match=r"'1\.png' is in it twice"):
        shards(tmp_path, None, ())
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("1.png"), io.BytesIO())
    with pytest.raises(UserError, match=r"cannot be read .*not compressed"):
        shards(tmp_path, None, ())


def test_a_member_larger_than_a_picture_is_broken(tmp_path: Path) -> None:
    info = tarfile.TarInfo("1.png")
    info.size = 2**30 + 512
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(info.tobuf())
        file.truncate(info.size + 2048)  # a hole, which takes no space
    (sample,) = shards(tmp_path, None, ()).samples
    with pytest.raises(BrokenImageError, match="more than"):
        sample.load()
