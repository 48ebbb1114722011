"""Files that hold a table, by what their names end in. Cells of text are read as the text they are: "007", "NA"."""

import codecs
import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from pipeline_lib.core.errors import UserError, shown

DELIMITERS = ",;\t|"
# Of what the program writes that a spreadsheet is saved with; UTF-8 has none, or one that means nothing.
MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF8: "utf-8-sig"}


def read_delimited(file: Path) -> pd.DataFrame:
    """Read a CSV file whose first row names its columns; commas, semicolons, tabs or bars stand between cells.

    An empty cell is a null, and so is one that a short row lacks. Raises ValueError for a row with more cells than
    there are columns, which would belong to another column.
    """
    encoding = _encoding(file)
    with file.open(encoding=encoding, newline="") as text:
        header = text.readline()
    parted = {each: next(csv.reader([header], delimiter=each), []) for each in DELIMITERS}
    # Commas may be in names where semicolons part them.
    delimiter = max(DELIMITERS, key=lambda each: ("file" in parted[each], len(parted[each])))
    # With the names as a row like others, pandas does not take a first cell too many for the name of the row.
    cells = pd.read_csv(
        file, sep=delimiter, header=None, dtype=str, keep_default_na=False, na_values=[""], encoding=encoding
    )
    # What numbers its rows, as pandas does, leaves the first name empty.
    names = [f"column {place}" if pd.isna(name) else name for place, name in enumerate(cells.iloc[0], start=1)]
    return cells.iloc[1:].set_axis(names, axis=1).reset_index(drop=True)


def read_lines(file: Path) -> pd.DataFrame:
    """Read a file with a JSON object in each line, whose keys are the columns; what a line lacks is a null."""
    rows = []
    with file.open(encoding=_encoding(file)) as text:
        for number, line in enumerate(text, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is no JSON object: {shown(line.strip())}")
            rows.append(row)
    return pd.DataFrame.from_records(rows).astype(object)


def read_sheet(file: Path) -> pd.DataFrame:
    """Read the first sheet of an Excel file; raises UserError where the package openpyxl is missing."""
    try:
        import openpyxl  # noqa: F401
    except ImportError:
        raise UserError(f"{file} needs the package openpyxl to be read: install it, or save it as CSV") from None
    cells = pd.read_excel(file, dtype=object, keep_default_na=False, na_values=[""], engine="openpyxl")
    return cells.dropna(how="all").reset_index(drop=True)


FORMATS: Mapping[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".jsonl": read_lines,
    ".ndjson": read_lines,
    ".parquet": pd.read_parquet,
    ".xlsx": read_sheet,
}


def _encoding(file: Path) -> str:
    with file.open("rb") as opened:
        head = opened.read(4)
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    return next((encoding for mark, encoding in MARKS.items() if head.startswith(mark)), "utf-8")
