"""Sets that are one file or a folder of files, each with many pictures in it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.readers.files import NO_SUFFIX, counted
from pipeline_lib.data.readers.splits import sides_of, split_in
from pipeline_lib.data.samples import printable

NO_FILE = "link or other than a file"


@dataclass(frozen=True)
class Parts:
    """The files of a set by their printable names inside the folder, in the order of names.

    ``passed_over`` counts what else is there by its suffix, and ``notes`` say so.
    """

    files: Mapping[str, Path]
    passed_over: Mapping[str, int]
    notes: tuple[str, ...]


def find_parts(path: Path, suffixes: Iterable[str], label_table: str | None = None) -> Parts:
    """Find the files at or under ``path`` that end in one of ``suffixes``.

    Files and folders whose name starts with a dot are ignored; links and files of other suffixes are passed over and
    counted. Raises UserError where there are none, and for a label table, since such a set holds its own labels.
    """
    ends, files, others = tuple(suffixes), {}, Counter[str]()
    if label_table is not None:
        raise UserError(f"a label table is for folders of images, but {path} holds its own labels: set labels to null")
    if not path.exists() or path == Path():
        raise UserError(
            f"{path} is no file or folder here: correct path; a set of a hub has to be downloaded, to where path says"
        )
    root = path if path.is_dir() else path.parent
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        inside = file.relative_to(root)
        if any(part.startswith(".") for part in inside.parts) or (file.is_dir() and not file.is_symlink()):
            continue
        if not file.is_file() or (file.is_symlink() and file != path):
            others[NO_FILE] += 1
        elif file.name.lower().endswith(ends):
            files[printable(inside.as_posix())] = file
        else:
            others[printable(file.suffix.lower()) or NO_SUFFIX] += 1
    passed_over = dict(sorted(others.items()))
    if not files:
        but = f" but {counted(passed_over)}" if passed_over else ""
        raise UserError(f"{path} holds nothing{but}: put files there that end in {', '.join(ends)}")
    notes = (f"{path} also holds {counted(passed_over)}, which are passed over",) if passed_over else ()
    return Parts(files, passed_over, notes)


def splits_of(names: Iterable[str]) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """Return the side that each name tells, see :func:`~pipeline_lib.data.readers.splits.sides_of`, and what to say."""
    told = {name: split_in(name) for name in names}
    sides, notes = sides_of(told.values())
    return {name: sides[split] for name, split in told.items()}, notes
