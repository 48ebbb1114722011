"""The label table beside a folder of images."""

from collections.abc import Set
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from pipeline_lib.core.errors import UserError, nearest
from pipeline_lib.data.samples import printable


def _read_csv(file: Path) -> pd.DataFrame:
    """Read every cell as the text it is ("007", "NA"), an empty one as a null."""
    return pd.read_csv(file, dtype=str, keep_default_na=False, na_values=[""])


FORMATS = {".csv": _read_csv, ".parquet": pd.read_parquet}


def read_table(path: Path, name: str, labels: tuple[str, ...], files: Set[str]) -> dict[str, dict[str, Any]]:
    """Return the rows of the table ``name`` inside the folder ``path`` by the file that they are about.

    The table has a column ``file`` (a path relative to the folder), one column per label, and optionally ``split``
    (train or test) and ``group`` (kept in one split). An empty cell is None: "not labelled", or left to chance.
    ``files`` are the images that there are: a row can only be about one of them, so a table reaches nothing else.

    Raises UserError for a table that is missing or unreadable, a column that is missing, a row about no image or
    about one that another row is about, and an unknown split.
    """
    table = _read(path, name)
    for column in ("file", *labels):
        if column not in table.columns:
            raise UserError(
                f"the label table {path / name} has no column '{column}'{nearest(column, map(str, table.columns))}: "
                f"its columns are {', '.join(map(str, table.columns))}; add it (an empty cell means not labelled)"
            )
    table["file"] = [
        None if pd.isna(file) else printable(PurePosixPath(str(file)).as_posix()) for file in table["file"]
    ]
    _refuse_files(path, name, table["file"], files)
    if "split" in table:
        wrong = sorted(set(table["split"].dropna().astype(str)) - {"train", "test", ""})
        if wrong:
            raise UserError(f"the label table {path / name} has the split {wrong[0]!r}: write train, test or nothing")
    optional = [column for column in ("split", "group") if column in table]
    kept = table[list(dict.fromkeys(["file", *labels, *optional]))].astype(object)
    empty = kept.isna() | kept.map(lambda cell: isinstance(cell, str) and not cell)
    return {record["file"]: record for record in kept.where(~empty, None).to_dict("records")}


def _read(path: Path, name: str) -> pd.DataFrame:
    file = path / name
    if file.suffix.lower() not in FORMATS:
        raise UserError(f"the label table {file} must end in {' or '.join(FORMATS)}: convert it, or set labels to null")
    if not file.resolve().is_relative_to(path.resolve()):
        raise UserError(f"the label table {file} lies outside of {path}: put it inside, or set labels to null")
    if not file.is_file():
        raise UserError(f"the label table {file} is missing: put it there, or set labels to null")
    try:
        return FORMATS[file.suffix.lower()](file)
    except (ValueError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"the label table {file} cannot be read ({reason}): mend or replace it") from None


def _refuse_files(path: Path, name: str, named: pd.Series, files: Set[str]) -> None:
    if named.isna().any():
        raise UserError(f"the label table {path / name} has a row without a file: fill in the column 'file'")
    twice = named[named.duplicated()]
    if len(twice):
        raise UserError(f"the label table {path / name} names {twice.iloc[0]!r} twice: keep one row per file")
    unknown = sorted(set(named) - files)
    if unknown:
        more = f" and {len(unknown) - 1} more, which are not images" if len(unknown) > 1 else ", which is not an image"
        raise UserError(
            f"the label table {path / name} names {unknown[0]!r}{more} under {path}: correct the column 'file'"
        )
