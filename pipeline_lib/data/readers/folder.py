"""A folder of images with an optional label table: the plainest form of one's own data."""

import os
from functools import partial
from pathlib import Path

from pipeline_lib.data.readers.files import Found, find_images, read_image
from pipeline_lib.data.readers.table import LabelTable, read_table
from pipeline_lib.data.samples import Reading, Sample


def folder(path: Path, label_table: str | None, labels: tuple[str, ...]) -> Reading:
    """Read every image file under the folder ``path``, in the order of their names.

    :func:`pipeline_lib.data.readers.files.find_images` says which these are. Links that lead out of the folder and
    what is no regular file are broken pictures. ``label_table`` is a table inside the folder, see
    :func:`pipeline_lib.data.readers.table.read_table`. A file that it does not name is not labelled.

    Raises UserError for a missing folder, a folder without an image, and a faulty table.
    """
    found = find_images(path, label_table)
    if label_table is None:
        return reading_of(path, found, LabelTable(), _on_folders(found))
    return reading_of(path, found, read_table(path, label_table, labels, found.files.keys()))


def reading_of(path: Path, found: Found, table: LabelTable, notes: tuple[str, ...] = ()) -> Reading:
    """Return what was found under ``path`` with what the table says of it."""
    root, here = Path(os.path.realpath(path)), os.path.normpath(path)
    samples = []
    for name, file in found.files.items():
        row = table.rows.get(name, {})
        labels = {label: row.get(label) for label in table.labels}
        load, inside = partial(read_image, root, file), f"{here}/{file}"
        samples.append(Sample(name, load, labels, row.get("split"), row.get("group"), inside))
    return Reading(
        samples, table.labels, others=table.others, passed_over=found.passed_over, notes=(*found.notes, *notes)
    )


def _on_folders(found: Found) -> tuple[str, ...]:
    folders = {name.partition("/")[0] for name in found.files if "/" in name}
    if len(folders) < 2:
        return ()
    return (
        f"the images lie in {len(folders)} folders and have no label: where these are classes, the reader "
        "class_folders takes them for labels",
    )
