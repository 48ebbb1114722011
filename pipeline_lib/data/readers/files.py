"""The image files of a folder, for the readers of folders: found, counted, and opened with care."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.images import HEAD_BYTES, SUFFIXES, BrokenImageError, is_image
from pipeline_lib.data.samples import printable

# What is passed over besides files of other suffixes, and how many kinds of it a sentence names.
LINKED_FOLDER, CLOSED_FOLDER, NO_SUFFIX = "linked folder", "folder that cannot be read", "no suffix"
MOST_SUFFIXES = 6
MOST_BYTES = 2**30  # of a picture: a larger file is none, or would fill the memory
# A link that takes a file's place meanwhile is not followed, and a pipe not waited for.
OPENED_AS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True)
class Found:
    """The image files of a folder.

    ``files`` gives each one's path inside the folder by its printable name, in the order of names. ``passed_over``
    counts what else is there by its suffix, and ``notes`` say so.
    """

    files: Mapping[str, str]
    passed_over: Mapping[str, int]
    notes: tuple[str, ...]


def find_images(path: Path, ignored: str | None = None) -> Found:
    """Find every image file under the folder ``path``, except the file ``ignored`` inside it.

    An image is what ends as one does, and what has no suffix and begins as one does. Files and folders whose name
    starts with a dot are ignored; linked folders and all other files are passed over and counted.

    Raises UserError for a missing folder and for one without an image.
    """
    if path == Path():
        raise UserError("path is empty, or the project itself: set it to the folder that holds the images")
    if not path.is_dir():
        raise UserError(f"{path} is not a folder that exists: correct path, or put the images there")
    found, passed_over, linked = _walk(path, os.path.normpath(ignored) if ignored else None)
    if not found:
        but = f", but {counted(passed_over)}" if passed_over else ""
        raise UserError(
            f"the folder {path} holds no image{but}: put files there that end in {', '.join(sorted(SUFFIXES))}"
        )
    notes = [f"{path} also holds {counted(passed_over)}, which are passed over"] if passed_over else []
    if linked:
        notes.append(
            f"what is behind linked folders ({linked[0]}{', ...' if len(linked) > 1 else ''}) is neither read nor "
            "watched: move it here, or make it a dataset of its own"
        )
    return Found({printable(file): file for file in sorted(found, key=_parts)}, passed_over, tuple(notes))


def read_image(root: Path, file: str) -> bytes:
    """Return the content of the image ``file`` inside the folder ``root``, an absolute path without links.

    Raises BrokenImageError for a link out of the folder, for what is no regular file, and for one that cannot be read.
    """
    try:
        return _read(os.path.join(root, file), MOST_BYTES, root)  # noqa: PTH118 - a Path a file would take longer
    except OSError as error:
        raise BrokenImageError(f"cannot be read ({error.strerror})") from None


def _walk(root: Path, ignored: str | None) -> tuple[list[str], dict[str, int], list[str]]:
    """Return the image files under ``root``, how many other files there are by suffix, and the linked folders."""
    found: list[str] = []
    linked: list[str] = []
    others: Counter[str] = Counter()
    unread: list[OSError] = []
    real = Path(os.path.realpath(root))
    for name, folders, files in os.walk(root, onerror=unread.append):
        here = os.path.relpath(name, root)
        # Hidden ones are not entered, and os.walk does not enter links.
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        linked += [_join(here, folder) for folder in folders if Path(name, folder).is_symlink()]
        for file in files:
            inside, suffix = _join(here, file), os.path.splitext(file)[1].lower()  # noqa: PTH122 - as above
            if file.startswith(".") or inside == ignored:
                continue
            if suffix in SUFFIXES or (not suffix and _begins_as_image(real, inside)):
                found.append(inside)
            else:
                others[printable(suffix) or NO_SUFFIX] += 1
    others[LINKED_FOLDER], others[CLOSED_FOLDER] = len(linked), len(unread)
    return found, {suffix: count for suffix, count in sorted(others.items()) if count}, sorted(map(printable, linked))


def _begins_as_image(root: Path, file: str) -> bool:
    try:
        return is_image(_read(os.path.join(root, file), HEAD_BYTES, root, whole=False))  # noqa: PTH118
    except (OSError, BrokenImageError):
        return False


def _read(path: str, most: int, root: Path, whole: bool = True) -> bytes:
    """Return the first ``most`` bytes of a file; if it is meant to be ``whole``, a larger one is broken."""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        # Not Path.resolve, which raises in older versions of Python where links lead round in a circle.
        path = os.path.realpath(path)
        if not Path(path).is_relative_to(root):
            raise BrokenImageError("a link out of the folder")
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not stat.S_ISREG(mode):  # to open a pipe would wait for whoever writes to it
        raise BrokenImageError("not a regular file")
    with open(os.open(path, OPENED_AS), "rb", buffering=0) as file:  # noqa: PTH123
        if not whole:
            return file.read(most)
        if os.fstat(file.fileno()).st_size > most:
            raise BrokenImageError(f"more than {most:,} bytes")
        return file.read()


def _join(folder: str, name: str) -> str:
    return name if folder == os.curdir else f"{folder}/{name}"


def _parts(file: str) -> list[str]:
    return file.split("/")


def counted(passed_over: Mapping[str, int]) -> str:
    """Return counts for a sentence, the largest first: "3 x .heic, 1 x .txt"."""
    largest = sorted(passed_over, key=lambda suffix: -passed_over[suffix])
    shown = ", ".join(f"{passed_over[suffix]} x {suffix}" for suffix in largest[:MOST_SUFFIXES])
    return f"{shown}, ..." if len(largest) > MOST_SUFFIXES else shown
