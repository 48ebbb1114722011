"""A folder of images with an optional label table: the plainest form of one's own data."""

import os
import stat
from collections import Counter
from collections.abc import Mapping, Set
from functools import partial
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.images import BrokenImageError
from pipeline_lib.data.readers.table import LabelTable, read_table
from pipeline_lib.data.samples import Reading, Sample, printable

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
# What is passed over besides files of other suffixes, and how many kinds of it a sentence names.
LINKED_FOLDER, CLOSED_FOLDER, NO_SUFFIX = "linked folder", "folder that cannot be read", "no suffix"
MOST_SUFFIXES = 6


def folder(path: Path, label_table: str | None, labels: tuple[str, ...]) -> Reading:
    """Read every image file under the folder ``path``, in the order of their names.

    Files and folders whose name starts with a dot are ignored. Linked folders and files of other suffixes are passed
    over and counted. Links that lead out of the folder and what is no regular file are broken pictures.
    ``label_table`` is a CSV or parquet file inside the folder, see
    :func:`pipeline_lib.data.readers.table.read_table`. A file that it does not name is not labelled.

    Raises UserError for a missing folder, a folder without an image, and a faulty table.
    """
    if path == Path():
        raise UserError("path is empty, or the project itself: set it to the folder that holds the images")
    if not path.is_dir():
        raise UserError(f"{path} is not a folder that exists: correct path, or put the images there")
    found, passed_over = _find(path, ignored={path / label_table} if label_table else set())
    if not found:
        raise UserError(
            f"the folder {path} holds no image{_but(passed_over)}: put files there that end in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    files = {printable(file.as_posix()): file for file in sorted(found)}
    table = read_table(path, label_table, labels, set(files)) if label_table else LabelTable()
    notes = (f"{path} also holds {_counts(passed_over)}, which are passed over",) if passed_over else ()
    return Reading(
        [_sample(name, path, file, table.rows.get(name, {}), table.labels) for name, file in files.items()],
        table.labels,
        others=table.others,
        passed_over=passed_over,
        notes=notes,
    )


def _find(root: Path, ignored: Set[Path]) -> tuple[list[Path], dict[str, int]]:
    """Return the image files under ``root``, relative to it, and how many others there are by suffix."""
    found: list[Path] = []
    others: Counter[str] = Counter()
    unread: list[OSError] = []
    for name, folders, files in os.walk(root, onerror=unread.append):
        here = Path(name)
        # Hidden ones are not entered, and os.walk does not enter links.
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        others[LINKED_FOLDER] += sum((here / folder).is_symlink() for folder in folders)
        for file in map(here.joinpath, files):
            if file.suffix.lower() in IMAGE_SUFFIXES:
                if not file.name.startswith("."):
                    found.append(file.relative_to(root))
            elif not file.name.startswith(".") and file not in ignored:
                others[printable(file.suffix.lower()) or NO_SUFFIX] += 1
    others[CLOSED_FOLDER] += len(unread)
    return found, {suffix: count for suffix, count in sorted(others.items()) if count}


def _counts(passed_over: Mapping[str, int]) -> str:
    """Return counts for a sentence, the largest first: "3 x .heic, 1 x .txt"."""
    largest = sorted(passed_over, key=lambda suffix: -passed_over[suffix])
    shown = ", ".join(f"{passed_over[suffix]} x {suffix}" for suffix in largest[:MOST_SUFFIXES])
    return f"{shown}, ..." if len(largest) > MOST_SUFFIXES else shown


def _but(passed_over: Mapping[str, int]) -> str:
    return f", but {_counts(passed_over)}" if passed_over else ""


def _sample(name: str, root: Path, file: Path, row: dict[str, Any], labels: tuple[str, ...]) -> Sample:
    return Sample(
        path=name,
        load=partial(_load, root / file, Path(os.path.realpath(root))),
        labels={label: row.get(label) for label in labels},
        split=row.get("split"),
        group=row.get("group"),
    )


def _load(file: Path, root: Path) -> bytes:
    # Not Path.resolve, which raises in older versions of Python where links lead round in a circle.
    if not Path(os.path.realpath(file)).is_relative_to(root):
        raise BrokenImageError("a link out of the folder")
    try:
        # To open a pipe would wait for whoever writes to it.
        if not stat.S_ISREG(file.stat().st_mode):
            raise BrokenImageError("not a regular file")
        return file.read_bytes()
    except OSError as error:
        raise BrokenImageError(f"cannot be read ({error.strerror})") from None
