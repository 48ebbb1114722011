"""The label table beside a folder of images."""

import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from pipeline_lib.core.errors import UserError, nearest, reason, shown
from pipeline_lib.data.readers.formats import FORMATS
from pipeline_lib.data.samples import printable
from pipeline_lib.labels.kind import is_missing


@dataclass(frozen=True)
class LabelTable:
    """What a label table says.

    ``rows`` gives for a file its labels and, where there are such columns, ``split`` and ``group``; None is "not
    labelled", or left to chance. ``labels`` are those asked for that the table has, ``others`` are its other columns.
    """

    rows: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def read_table(path: Path, name: str, labels: tuple[str, ...], files: Set[str]) -> LabelTable:
    """Read the table ``name`` inside the folder ``path``.

    The table has a column ``file`` (a path relative to the folder), a column for each label that it knows, and
    optionally ``split`` (train or test) and ``group`` (kept in one split). A cell of nothing but blanks is empty.
    ``files`` are the images that there are: a row can only be about one of them, so a table reaches nothing else.

    Raises UserError for a table that is missing or unreadable, has no column ``file`` or one of the others twice, for
    a row about no image or about one that another row is about, and for an unknown split.
    """
    table = _read(path, name)
    table.columns = table.columns.map(str)
    if "file" not in table:
        raise UserError(
            f"the label table {path / name} has no column 'file'{nearest('file', table.columns)}: "
            "add it, with the path of each image inside the folder"
        )
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise UserError(f"the label table {path / name} has the column {shown(twice)} twice: rename one of them")
    table["file"] = [
        None if pd.isna(file) else printable(PurePosixPath(str(file)).as_posix()) for file in table["file"]
    ]
    _refuse_files(path, name, table["file"], files)
    return read_columns(table, labels, f"the label table {path / name}")


def read_columns(table: pd.DataFrame, labels: tuple[str, ...], where: str) -> LabelTable:
    """Return what the columns of a table with a column ``file`` say, as :func:`read_table` does."""
    has = tuple(label for label in labels if label in table)
    about = [column for column in ("split", "group") if column in table]
    kept = table[list(dict.fromkeys(["file", *has, *about]))].astype(object)
    kept = kept.where(~kept.map(is_missing), None)
    if "split" in kept:
        kept["split"] = kept["split"].map(lambda cell: str(cell).strip(), na_action="ignore")
        wrong = sorted(set(kept["split"].dropna()) - {"train", "test"})
        if wrong:
            raise UserError(f"{where} has the split {shown(wrong[0])}: write train, test or nothing")
        kept["split"] = kept["split"].astype(object).where(kept["split"].notna(), None)
    others = tuple(column for column in table if column not in {*has, "file", "split", "group"})
    return LabelTable({record["file"]: record for record in kept.to_dict("records")}, has, others)


def _read(path: Path, name: str) -> pd.DataFrame:
    file = path / name
    read = FORMATS.get(file.suffix.lower())
    if read is None:
        raise UserError(f"the label table {file} must end in {', '.join(FORMATS)}: convert it, or set labels to null")
    if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(path)):
        raise UserError(f"the label table {file} lies outside of {path}: put it inside, or set labels to null")
    if not file.is_file():
        raise UserError(f"the label table {file} is missing: put it there, or set labels to null")
    try:
        return read(file)
    except UserError:
        raise
    except UnicodeDecodeError:
        raise UserError(f"the label table {file} is neither UTF-8 nor UTF-16: save it as UTF-8") from None
    except Exception as error:  # damaged files make openpyxl raise nearly anything
        raise UserError(f"the label table {file} cannot be read ({reason(error)}): mend or replace it") from None


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
