"""Shards of WebDataset: tar files in which files of one name and different suffixes are one sample."""

import json
import os
import tarfile
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import UserError, reason, shown
from pipeline_lib.data.images import SUFFIXES, BrokenImageError
from pipeline_lib.data.readers.files import MOST_BYTES, counted
from pipeline_lib.data.readers.parts import find_parts, splits_of
from pipeline_lib.data.samples import Reading, Sample, printable

# A file of text is a label under its suffix, a .json one for each of its keys.
TEXTS = (".cls", ".txt", ".class", ".label", ".index")
MOST_TEXT = 2**20  # bytes; a longer one is no label
NO_IMAGE, NO_FILE = "sample without an image", "link or other than a file"


@dataclass
class _Sample:
    """Where in the shard the image is: its name, first byte and size; and what the texts beside it say."""

    image: tuple[str, int, int] | None = None
    said: dict[str, Any] = field(default_factory=dict)


def shards(path: Path, label_table: str | None, labels: tuple[str, ...]) -> Reading:
    """Read the images of a ``.tar`` file, or of all such files under a folder in the order of names.

    ``0001.jpg``, ``0001.cls`` and ``0001.json`` are one sample: the text of a .cls is its label ``cls``, and each key
    of a .json a label of its own. File names that tell of train and test are the split. Nothing is extracted, and names
    within a shard reach no file. What is neither image nor text is passed over and counted.

    Raises UserError for a damaged or compressed shard, for a name that is twice in one, where there is no image, and as
    :func:`~pipeline_lib.data.readers.parts.find_parts` does.
    """
    parts = find_parts(path, (".tar",), label_table)
    sides, notes = splits_of(parts.files)
    samples, there, others = [], set[str](), Counter[str]()
    for shard, file in parts.files.items():
        try:
            found = _samples(file, others)
        except (OSError, ValueError, EOFError, tarfile.TarError) as error:
            raise UserError(f"{file} cannot be read ({reason(error)}): fetch it anew, not compressed") from None
        for one in found.values():
            there |= one.said.keys()
            if one.image is None:
                others[NO_IMAGE] += 1
                continue
            name, start, size = one.image
            said = {label: one.said.get(label) for label in labels}
            samples.append(Sample(f"{shard}/{name}", partial(_content, file, start, size), said, sides[shard]))
    if not samples:
        raise UserError(f"{path} holds no sample with an image that ends in {', '.join(sorted(SUFFIXES))}")
    inside = f"its shards also hold {counted(others)}, which are passed over"
    return Reading(
        samples,
        tuple(label for label in labels if label in there),
        others=tuple(sorted(there - set(labels))),
        passed_over=dict(sorted((others + Counter(parts.passed_over)).items())),
        notes=(*parts.notes, *notes, *([inside] if others else [])),
    )


def _samples(file: Path, others: Counter[str]) -> dict[str, _Sample]:
    """Return the samples of a shard by their names without suffixes; what is none is counted in ``others``."""
    found: dict[str, _Sample] = {}
    names = set[str]()
    with tarfile.open(file, "r:") as archive:
        for member in archive:
            folder, _, base = member.name.rpartition("/")
            stem, dot, suffix = base.partition(".")
            if member.isdir() or not stem:
                continue
            if not member.isreg() or member.issparse():
                others[NO_FILE] += 1
                continue
            if member.name in names:
                raise ValueError(f"{shown(member.name)} is in it twice")
            names.add(member.name)
            sample = found.setdefault(f"{folder}/{stem}", _Sample())
            kind = f"{dot}{suffix.lower()}"
            if kind in SUFFIXES and sample.image is None:
                sample.image = (printable(member.name), member.offset_data, member.size)
            elif kind in (*TEXTS, ".json") and member.size <= MOST_TEXT:
                content = archive.extractfile(member)
                sample.said |= _said(kind, content.read() if content else b"")
            else:
                others[printable(kind) or "no suffix"] += 1
    return found


def _said(kind: str, content: bytes) -> dict[str, Any]:
    text = content.decode("utf-8", errors="replace")
    if kind != ".json":
        return {kind[1:]: text.strip()}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"a .json in it is none: {shown(text)}") from None
    cells = value.items() if isinstance(value, dict) else [("json", value)]
    return {key: cell for key, cell in cells if not isinstance(cell, dict)}


def _content(file: Path, start: int, size: int) -> bytes:
    if size > MOST_BYTES:
        raise BrokenImageError(f"more than {MOST_BYTES:,} bytes")
    try:
        with file.open("rb", buffering=0) as opened:
            return os.pread(opened.fileno(), size, start)
    except OSError as error:
        raise BrokenImageError(f"cannot be read ({error.strerror})") from None
