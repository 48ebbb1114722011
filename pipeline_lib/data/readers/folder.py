"""A folder of images with an optional label table: the plainest form of one's own data."""

from functools import partial
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.images import BrokenImageError
from pipeline_lib.data.readers.table import read_table
from pipeline_lib.data.samples import Reading, Sample, printable

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def folder(path: Path, label_table: str | None, labels: tuple[str, ...]) -> Reading:
    """Read every image file under the folder ``path``, in the order of their names.

    Files and folders whose name starts with a dot are passed over, and links that lead out of the folder are not
    followed: as pictures they are broken. ``label_table`` is a CSV or parquet file inside the folder, see
    :func:`pipeline_lib.data.readers.table.read_table`. A file that it does not name is not labelled.

    Raises UserError for a missing folder, a folder without an image, and a faulty table.
    """
    if not path.is_dir():
        raise UserError(f"{path} is not a folder that exists: correct 'path' in params.yaml, or put the images there")
    found = sorted(file.relative_to(path) for file in path.rglob("*") if _is_image(file, path))
    if not found:
        raise UserError(
            f"the folder {path} holds no image: put files there that end in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    files = {printable(file.as_posix()): file for file in found}
    rows = read_table(path, label_table, labels, set(files)) if label_table else {}
    samples = [_sample(name, path, file, rows.get(name, {}), labels) for name, file in files.items()]
    return Reading(samples, labels if label_table else ())


def _is_image(file: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    return not hidden and file.suffix.lower() in IMAGE_SUFFIXES and (file.is_file() or file.is_symlink())


def _sample(name: str, root: Path, file: Path, row: dict[str, Any], labels: tuple[str, ...]) -> Sample:
    return Sample(
        path=name,
        load=partial(_load, root / file, root.resolve()),
        labels={label: row.get(label) for label in labels},
        split=row.get("split"),
        group=row.get("group"),
    )


def _load(file: Path, root: Path) -> bytes:
    if not file.resolve().is_relative_to(root):
        raise BrokenImageError("a link out of the folder")
    try:
        return file.read_bytes()
    except OSError as error:
        raise BrokenImageError(f"cannot be read ({error.strerror})") from None
