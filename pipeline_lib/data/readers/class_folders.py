"""Images in a folder for each class, with or without a folder for each split above: root/split/class/image.jpg."""

from collections.abc import Mapping
from pathlib import Path

from pipeline_lib.core.errors import UserError, shown
from pipeline_lib.data.readers.files import find_images
from pipeline_lib.data.readers.folder import reading_of
from pipeline_lib.data.readers.splits import SPLITS, sides_of
from pipeline_lib.data.readers.table import LabelTable, read_table
from pipeline_lib.data.samples import LABEL, Reading


def class_folders(path: Path, label_table: str | None, labels: tuple[str, ...]) -> Reading:
    """Read every image file under ``path``, each with the name of its folder directly below ``path`` as ``label``.

    Where all of these folders have names of splits, the classes are the folders within them. An image in no such
    folder is not labelled. All else is as in :func:`pipeline_lib.data.readers.folder.folder`; a label table adds
    labels, and what it says of a split comes first.

    Raises UserError as that one does, where there are no folders at all, and for a table with a column ``label``.
    """
    found = find_images(path, label_table)
    table = read_table(path, label_table, labels, found.files.keys()) if label_table else LabelTable()
    if LABEL in (*table.labels, *table.others):
        raise UserError(
            f"the label table {path / str(label_table)} has a column '{LABEL}', but that is what the folders tell: "
            "rename the column, or use the reader folder"
        )
    folders = {name: name.split("/")[:-1] for name in found.files}
    if not any(folders.values()):
        raise UserError(f"the images of {path} lie in no folders that could name classes: use the reader folder")
    by_split = all(each and each[0].lower() in SPLITS for each in folders.values())
    splits = {name: SPLITS[each[0].lower()] if by_split else None for name, each in folders.items()}
    classes = {name: next(iter(each[by_split:]), None) for name, each in folders.items()}
    sides, notes = sides_of(splits.values())
    rows = {
        name: {
            LABEL: classes[name],
            "split": sides[splits[name]],
            **{column: cell for column, cell in table.rows.get(name, {}).items() if cell is not None},
        }
        for name in found.files
    }
    asked, offered = ((LABEL,), ()) if LABEL in labels else ((), (LABEL,))
    merged = LabelTable(rows, (*asked, *table.labels), (*offered, *table.others))
    return reading_of(path, found, merged, (*notes, *_on_classes(path, classes)))


def _on_classes(path: Path, classes: Mapping[str, str | None]) -> list[str]:
    """Say what looks as if the classes were meant to be other folders."""
    notes = []
    bare = sum(name is None for name in classes.values())
    if bare:
        notes.append(f"{bare} images of {path} lie in no folder that names a class, and are not labelled")
    names = sorted({name for name in classes.values() if name is not None})
    if len(names) == 1:
        notes.append(f"all folders of classes in {path} are {shown(names[0])}: if it holds those, set path to it")
    return notes
