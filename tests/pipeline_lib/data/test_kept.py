import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.scratch import ROOT
from pipeline_lib.data.images import decode
from pipeline_lib.data.ingest import ingest
from pipeline_lib.data.kept import FRAMES, ROWS, Kept
from pipeline_lib.data.readers.folder import folder
from tests.pipeline_lib.data.pictures import SETTINGS, png

PARTS = ("images.npy", "table.parquet", "card.json")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures, one of them broken, in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("pictures/sub").mkdir(parents=True)
    for index in range(40):
        Path(f"pictures/{index:02d}.png").write_bytes(png(index, channels=3 if index % 2 else 1, side=9))
    Path("pictures/sub/broken.png").write_bytes(b"no picture")
    return Path("pictures")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was decoded since the last look."""
    seen: list[bytes] = []

    def watched(content: bytes, enough: int | None = None) -> Image.Image:
        seen.append(content)
        return decode(content, enough)

    monkeypatch.setattr("pipeline_lib.data.framing.decode", watched)
    return seen


def run(root: Path, out: str, kept: bool = True, side: int = 8) -> dict[str, bytes]:
    digests = {str(file): sha256(file.read_bytes()).hexdigest() for file in root.rglob("*") if file.is_file()}
    settings = {**SETTINGS, "size": side, "content": side, "kept": Kept(Path("frames/key"), digests) if kept else None}
    ingest(folder(root, None, ()), {}, Path(out), **settings)
    return {name: Path(out, name).read_bytes() for name in PARTS}


def test_only_new_pictures_are_decoded_and_the_bytes_are_the_same(root: Path, decoded: list[bytes]) -> None:
    first = run(root, "one")
    assert len(decoded) == 41 and run(root, "plain", kept=False) == first
    decoded.clear()
    assert run(root, "two") == first
    assert decoded == [b"no picture"], "what is broken is looked at again"
    shutil.rmtree("one")
    shutil.rmtree("two")
    decoded.clear()
    (root / "00.png").write_bytes(png(99))
    (root / "10.png").unlink()
    (root / "11.png").rename(root / "sub/moved.png")
    third = run(root, "three")
    assert len(decoded) == 2 and third == run(root, "plain", kept=False)
    assert [run.name for run in Path("frames/key").iterdir()] == ["2"]


def test_a_run_that_was_killed_leaves_its_frames(root: Path, decoded: list[bytes], tmp_path: Path) -> None:
    whole = run(root, "whole", kept=False, side=64)
    half = len(decoded) // 2
    killed = f"""
import os
from tests.pipeline_lib.data.test_kept import *
import pipeline_lib.data.framing as framing
seen = []
def counted(content, enough=None):
    seen.append(1)
    if len(seen) > {half}:
        os.kill(os.getpid(), 9)
    return decode(content, enough)
framing.decode, framing.MOST_IN_CHUNK = counted, 4
SETTINGS["workers"] = 1
run(Path("pictures"), "one", side=64)
"""
    done = subprocess.run([sys.executable, "-c", killed], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -9
    shutil.rmtree("one")
    decoded.clear()
    assert run(root, "two", side=64) == whole
    assert 0 < len(decoded) < 41, "some of it was not decoded again"


@pytest.mark.parametrize("damage", ["half the images", "half the rows", "zeros", "other rows", "no rows", "a folder"])
def test_damaged_frames_are_made_anew(root: Path, damage: str) -> None:
    first = run(root, "one")
    images, rows = Path("frames/key/0", FRAMES), Path("frames/key/0", ROWS)
    content = images.read_bytes()
    images.unlink()
    if damage == "half the images":
        images.write_bytes(content[: len(content) // 2 + 5])
    elif damage == "zeros":
        images.write_bytes(content[:1000] + bytes(len(content) - 1000))
    elif damage == "a folder":
        images.mkdir()
    else:
        images.write_bytes(content)
        lines = rows.read_text()
        rows.write_text(
            {"half the rows": lines[: len(lines) // 2 + 3], "other rows": "x\n1 2\n" + lines}.get(damage, "")
        )
    assert run(root, "two") == first


def test_a_link_is_for_its_reader_to_follow(root: Path) -> None:
    run(root, "one")
    Path("outside.png").write_bytes((root / "00.png").read_bytes())
    (root / "out.png").symlink_to(Path("outside.png").resolve())
    assert run(root, "two") == run(root, "plain", kept=False)
    assert b"a link out of the folder" in Path("two/card.json").read_bytes()


def test_without_hard_links_all_is_decoded(root: Path, decoded: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: Path) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", refuse)
    assert run(root, "one") == run(root, "two") and len(decoded) == 82


def test_the_frames_of_another_framing_are_removed(root: Path) -> None:
    Path("frames/old/0").mkdir(parents=True)
    run(root, "one")
    assert [path.name for path in Path("frames").iterdir()] == ["key"]
    assert np.load("one/images.npy").shape == (40, 8, 8, 1)
