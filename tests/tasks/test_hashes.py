import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from dvc.fs import localfs
from dvc.ignore import DvcIgnoreFilter

from benchmarks import hashing
from tasks import hashes
from tasks.hashes import TABLE, hash_files


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two files, in which the test is."""
    monkeypatch.chdir(tmp_path)
    write("flour/wheat.txt", "wheat")
    write("flour/sack.bin", "0" * hashes.LARGE)
    return tmp_path


@pytest.fixture
def long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes every file for one that was written long ago."""
    monkeypatch.setattr(hashes, "SETTLED", -(10**12))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose content was read."""
    found: list[str] = []
    hash_file = hashes._hash_file
    monkeypatch.setattr(hashes, "_hash_file", lambda file, mode: found.append(file) or hash_file(file, mode))
    return found


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def digests(*paths: str) -> dict[str, str]:
    return {file: digest for file, (_, digest) in hash_files(paths).items()}


def in_table() -> set[str]:
    with closing(sqlite3.connect(TABLE)) as table:
        return {os.fsdecode(path) for (path,) in table.execute("SELECT path FROM hashes")}


def test_a_file_is_read_once_for_all_who_ask(long_ago: None, read: list[str]) -> None:
    first = digests("flour")
    assert sorted(read) == ["flour/sack.bin", "flour/wheat.txt"]
    read.clear()
    assert digests("flour") == digests("flour/wheat.txt", "flour/sack.bin") == digests("flour/") == first
    assert read == []
    write("flour/wheat.txt", "ryeee")
    assert digests(".")["./flour/wheat.txt"] != first["flour/wheat.txt"]
    changed = digests("flour")
    assert changed["flour/wheat.txt"] != first["flour/wheat.txt"]
    assert changed["flour/sack.bin"] == first["flour/sack.bin"]
    assert read.count("flour/wheat.txt") == 1 and "flour/sack.bin" not in read


def test_what_is_known_is_not_read_and_the_table_is_not_asked(long_ago: None, read: list[str]) -> None:
    known = hash_files(["flour"])
    TABLE.unlink()
    read.clear()
    write("flour/wheat.txt", "rye")
    assert hash_files(["flour"], known)["flour/sack.bin"] == known["flour/sack.bin"]
    assert read == ["flour/wheat.txt"]
    assert not TABLE.exists()


@pytest.mark.parametrize("again", [lambda known: hash_files(["flour"]), lambda known: hash_files(["flour"], known)])
def test_an_edit_right_after_it_was_read_is_seen_though_the_stamp_is_the_same(
    again: Callable[[dict[str, hashes.Entry]], dict[str, hashes.Entry]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems count time in steps: on a coarse one, the edit has the times of what was there before."""
    monkeypatch.setattr(hashes, "_stamp", lambda status: f"{status.st_size}")
    known = hash_files(["flour"])
    write("flour/wheat.txt", "ryeee")
    assert again(known)["flour/wheat.txt"][1] != known["flour/wheat.txt"][1]


def test_a_file_that_is_gone_is_taken_out_and_no_other(long_ago: None) -> None:
    write("flours.txt", "")
    write("flour-old/rye.txt", "")
    hash_files(["flour", "flours.txt", "flour-old"])
    Path("flour/wheat.txt").unlink()
    hash_files(["flour"])
    assert in_table() == {"flour/sack.bin", "flours.txt", "flour-old/rye.txt"}


def test_stages_that_run_side_by_side_keep_all_of_theirs(long_ago: None) -> None:
    names = [f"part{number}" for number in range(8)]
    for name in names:
        for number in range(50):
            write(f"{name}/{number}", name)
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(digests, names))
    assert in_table() == {f"{name}/{number}" for name in names for number in range(50)}


@pytest.mark.parametrize("damage", [lambda: TABLE.write_text("x" * 5000), lambda: os.truncate(TABLE, 5000)])
def test_a_damaged_table_is_begun_anew(damage: Callable[[], object], long_ago: None, read: list[str]) -> None:
    for number in range(100):
        write(f"flour/{number}", "")
    first = digests("flour")
    damage()
    assert digests("flour") == first
    hash_files(["flour"])
    read.clear()
    assert digests("flour") == first
    assert read == []


def test_it_goes_without_a_table() -> None:
    first = digests("flour")
    shutil.rmtree(".graftline")
    Path(".graftline").touch()
    assert digests("flour") == first


def test_a_name_may_be_any_bytes(long_ago: None, read: list[str]) -> None:
    Path(os.fsdecode(b"flour/\xff")).write_text("x")
    first = digests("flour")
    read.clear()
    assert digests("flour") == first
    assert len(first) == 3 and read == []


IGNORED: dict[str, list[str]] = {
    "of the project": ["__pycache__", "*.pyc", ".*.partial", ".*.partial.*"],
    "# nothing": ["# nothing", "", "   "],
    "a folder": ["old/", "/flour/rye"],
    "but not": ["*.txt", "!wheat.txt", "!/flour/deep/old/"],
    "any depth": ["flour/**/rye.txt", "deep/*"],
    "one letter": ["whea?.txt", "[pr]*.pyc", r"\#odd"],
}


@pytest.mark.parametrize("lines", IGNORED.values(), ids=IGNORED)
@pytest.mark.parametrize("place", [".dvcignore", "data/.dvcignore"])
def test_what_dvc_ignores_is_no_input(lines: list[str], place: str, tmp_path: Path) -> None:
    root = Path("data/flour")
    for name in (
        "wheat.txt", "#odd", ".git/config", "__pycache__/rye.pyc", "rye.pyc", ".bread.partial", ".bread.partial.csv",
        "rye/a", "deep/old/rye.txt", "deep/old/wheat.txt", "deep/rye.txt", "deep/__pycache__/x", "old/wheat.txt",
        ".dvc/tmp",
    ):  # fmt: skip
        write(str(root / name), name)
    write(place, "\n".join(lines))
    ignore = DvcIgnoreFilter(localfs, str(tmp_path))
    seen = {
        str(Path(folder, file).relative_to(tmp_path))
        for folder, _, files in ignore.walk(localfs, str(tmp_path / root))
        for file in files
    }
    assert set(digests(str(root))) == seen


def test_outside_of_the_project_dvc_ignores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("project/.dvcignore", "*.txt")
    write("project/flour/a.txt", "")
    monkeypatch.chdir("project")
    assert digests("flour") == {}
    assert set(digests("../flour")) == {"../flour/sack.bin", "../flour/wheat.txt"}
    assert len(digests(str(tmp_path / "flour"))) == 2


def test_the_benchmark_ends_with_its_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["hashing", "--files", "20", "--gigabytes", "0.001", "--repeats", "2"])
    hashing.main()
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(line) == {"first_s", "again_s"}
