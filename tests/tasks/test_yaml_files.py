import os
import random
import socket
from pathlib import Path

import pytest

from pipeline_lib.core.errors import UserError
from tasks.yaml_files import read_yaml

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file is, as a stage names it."""
    monkeypatch.chdir(tmp_path)
    return Path("params.yaml")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("title: résumé\n".encode("latin-1"), r"params\.yaml, line 1: not UTF-8 text; save the file as UTF-8"),
        (b"seed: 0\n\xff\xfe", r"params\.yaml, line 2: not UTF-8 text"),
        ("seed: 0\n".encode("utf-16"), r"params\.yaml, line 1: not UTF-8 text"),
        (b"seed: 0\ntitle: a\x07b\n", r"line 2: a character that no one can see \(number 7\)"),
        (b"seed: 0\x00", r"line 1: a character that no one can see \(number 0\)"),
        (b"seed: [0\nprimary: digit\n", r"params\.yaml, line [12]: not valid YAML"),
        (b"seed: 0\nseed: 1\n", r"params\.yaml, line 2: not valid YAML"),
        (b"seed: 0\n\tprimary: x\n", r"params\.yaml, line [12]: not valid YAML"),
        (b"a: *nowhere", r"params\.yaml, line 1: not valid YAML"),
        (b"a: !Secret x", r"params\.yaml, line 1: not valid YAML"),
        (b"a: 1\n---\nb: 2", r"params\.yaml, line [123]: not valid YAML"),
        (b"day: 2026-02-30", r"params\.yaml: not valid YAML \(day is out of range"),
        (b"a: &a [*a]", r"params\.yaml is nested too deeply, or holds itself"),
        (b"a: &a\n  b: *a\n", r"params\.yaml is nested too deeply, or holds itself"),
        (b"[" * 3000 + b"]" * 3000, r"params\.yaml is nested too deeply"),
        (LAUGHS.encode(), r"params\.yaml stands for more than 1000000 values"),
        (b"", r"params\.yaml must hold a mapping"),
        (b"- a list", r"params\.yaml must hold a mapping"),
        (b"just text", r"params\.yaml must hold a mapping"),
    ],
    ids=range(19),
)
def test_what_is_no_mapping_is_one_sentence(file: Path, content: bytes, sentence: str) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"^{sentence}" if sentence.startswith("params") else sentence) as caught:
        read_yaml(file)
    assert "\n" not in str(caught.value)


def test_random_bytes_and_random_yaml_are_one_sentence_or_a_mapping(file: Path) -> None:
    chance = random.Random(0)
    signs = ["{", "}", "[", "]", ":", " ", "\n", "-", "?", "!", "&a", "*a", "'", '"', "|", ">", "%", "@", "1", "x", "#"]
    for _ in range(300):
        text = "".join(chance.choices(signs, k=20))
        for content in (chance.randbytes(chance.randrange(1, 200)), f"a: {text}".encode()):
            file.write_bytes(content)
            try:
                assert isinstance(read_yaml(file), dict)
            except UserError as error:
                assert "\n" not in str(error)
                assert str(file) in str(error)


def test_aliases_are_read(file: Path) -> None:
    file.write_text("a: &a {x: 1}\nb: *a\nc:\n  <<: *a\n  y: 2\n")
    assert read_yaml(file) == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


def test_a_byte_order_mark_is_no_mistake(file: Path) -> None:
    file.write_bytes("seed: 0\n".encode("utf-8-sig"))
    assert read_yaml(file) == {"seed": 0}


def test_what_is_not_there_or_no_file_is_named(file: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml is missing here: run from the root"):
        read_yaml(file)
    file.symlink_to("nowhere")
    with pytest.raises(UserError, match=r"params\.yaml is missing here"):
        read_yaml(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(UserError, match=r"params\.yaml is no file"):
        read_yaml(file)
    file.rmdir()
    os.mkfifo(file)
    with pytest.raises(UserError, match=r"params\.yaml is no file"):
        read_yaml(file)
    file.unlink()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(file))
        with pytest.raises(UserError, match=r"params\.yaml is no file"):
            read_yaml(file)


def test_a_file_that_may_not_be_read_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("seed: 0")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # a user who may do everything is not refused
    with pytest.raises(UserError, match=r"params\.yaml cannot be read \(Permission denied\): see to its permissions"):
        read_yaml(file)
