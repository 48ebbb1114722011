"""A folder of images with an optional label table: the plainest form of one's own data."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline_lib.core.errors import UserError, nearest
from pipeline_lib.data.samples import Reading, Sample

IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
TABLE_READERS = {".csv": pd.read_csv, ".parquet": pd.read_parquet}


def folder(path: Path, label_table: str | None, labels: tuple[str, ...]) -> Reading:
    """Read every image file under the folder ``path``, in the order of their names.

    ``label_table`` is a CSV or parquet file inside the folder with a column ``file`` (the path relative to
    the folder), one column per label, and optionally ``split`` (train or test) and ``group`` (kept in one
    split). An empty cell means "not labelled". A file that the table does not name is not labelled.

    Raises UserError for a missing folder, a folder without an image, a missing table or column, and for
    a table that names a file twice or one that is not there.
    """
    if not path.is_dir():
        raise UserError(f"the folder {path} does not exist: correct 'path' in params.yaml, or put the images there")
    files = sorted(
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if file.is_file() and file.suffix.lower() in IMAGE_SUFFIXES
    )
    if not files:
        raise UserError(
            f"the folder {path} holds no image: put files there that end in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    rows = _read_table(path, label_table, labels, files) if label_table else {}
    samples = [
        Sample(
            path=file,
            load=partial(Path.read_bytes, path / file),
            labels={name: rows.get(file, {}).get(name) for name in labels} if label_table else {},
            split=rows.get(file, {}).get("split"),
            group=rows.get(file, {}).get("group"),
        )
        for file in files
    ]
    return Reading(samples, labels if label_table else ())


def _read_table(path: Path, name: str, labels: tuple[str, ...], files: list[str]) -> dict[str, dict[str, Any]]:
    file = path / name
    if file.suffix.lower() not in TABLE_READERS:
        raise UserError(f"the label table {file} must end in {' or '.join(TABLE_READERS)}")
    if not file.is_file() or not file.resolve().is_relative_to(path.resolve()):
        raise UserError(f"the label table {file} is missing: put it inside {path}, or set labels to null")
    try:
        table = TABLE_READERS[file.suffix.lower()](file)
    except (ValueError, OSError) as error:
        raise UserError(f"the label table {file} cannot be read ({error}): mend or replace it") from None
    for column in ("file", *labels):
        if column not in table.columns:
            raise UserError(
                f"the label table {file} has no column '{column}': its columns are "
                f"{', '.join(map(str, table.columns))}{nearest(column, map(str, table.columns))}"
            )
    twice = table["file"][table["file"].duplicated()]
    if len(twice):
        raise UserError(f"the label table {file} names '{twice.iloc[0]}' twice: keep one row per file")
    unknown = sorted(set(table["file"].astype(str)) - set(files))
    if unknown:
        raise UserError(
            f"the label table {file} names '{unknown[0]}' (and {len(unknown) - 1} more) which is not an image "
            f"under {path}: correct the column 'file'"
        )
    if "split" in table:
        wrong = sorted(set(table["split"].dropna()) - {"train", "test"})
        if wrong:
            raise UserError(f"the label table {file} has the split '{wrong[0]}': allowed are train, test and empty")
    kept = table[["file", *labels, *(name for name in ("split", "group") if name in table)]]
    records = kept.astype(object).where(kept.notna(), None).to_dict("records")
    return {str(record["file"]): record for record in records}
