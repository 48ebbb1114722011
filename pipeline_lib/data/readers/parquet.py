"""Parquet or Arrow files with a column of encoded images, as the hub of Hugging Face has them and `datasets` saves."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline_lib.core.errors import UserError, nearest, reason
from pipeline_lib.data.images import BrokenImageError
from pipeline_lib.data.readers.parts import find_parts, splits_of
from pipeline_lib.data.readers.streams import Stream
from pipeline_lib.data.readers.table import read_columns
from pipeline_lib.data.samples import Reading, Sample

BATCH = 64  # rows of a Parquet file that are read at a time; those of an Arrow file were set by whoever wrote it


def parquet(path: Path, label_table: str | None, labels: tuple[str, ...], *, image: str | None = None) -> Reading:
    """Read the rows of a ``.parquet`` or ``.arrow`` file, or of all such files under a folder in the order of names.

    The column ``image`` holds encoded bytes, or structs of ``bytes`` and ``path``; None takes the first such column.
    All others of text, numbers or lists are labels, but for ``split`` and ``group``, which are as in a label table. A
    number of a class is its name, where the file has the names. File names that tell of train and test are the split.

    Raises UserError for files that cannot be read or have no such column, and as
    :func:`~pipeline_lib.data.readers.parts.find_parts` does.
    """
    parts = find_parts(path, (".parquet", ".arrow"), label_table)
    sides, notes = splits_of(parts.files)
    tables, columns = [], []
    for name, file in parts.files.items():
        try:
            columns.append(_image_column(file, image))
            tables.append(_labels(file, columns[-1]).assign(file=name, told=sides[name]))
        except (OSError, ValueError) as error:
            raise UserError(f"{file} cannot be read ({reason(error)}): fetch it anew, or remove it") from None
    table = pd.concat(tables, ignore_index=True)
    table["file"] = [
        f"{name}/{row:07d}" for name, row in zip(table["file"], table.groupby("file").cumcount(), strict=True)
    ]
    told = table.pop("told").tolist()
    said = read_columns(table, labels, str(path))
    load = Stream(partial(_contents, list(zip(parts.files.values(), columns, strict=True))))
    samples = [
        Sample(
            path=name,
            load=partial(_content, load, number),
            labels={label: row[label] for label in said.labels},
            split=row.get("split") or told[number],
            group=row.get("group"),
        )
        for number, (name, row) in enumerate(said.rows.items())
    ]
    notes = (*parts.notes, *notes)
    return Reading(samples, said.labels, {}, said.others, parts.passed_over, notes, in_order=True)


def _open(file: Path, columns: Sequence[str] | None = None) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return what columns a file has, and its rows, some at a time."""
    if file.suffix.lower() == ".parquet":
        opened = pq.ParquetFile(file, buffer_size=2**20)
        return opened.schema_arrow, opened.iter_batches(BATCH, columns=columns, use_threads=False)
    source = pa.OSFile(str(file))
    batches: Iterable[pa.RecordBatch]
    try:
        reader = batches = pa.ipc.open_stream(source)  # what `datasets` saves
    except pa.ArrowInvalid:
        source.seek(0)
        reader = pa.ipc.open_file(source)
        batches = map(reader.get_batch, range(reader.num_record_batches))
    return reader.schema, (batch.select(columns) if columns is not None else batch for batch in batches)


def _image_column(file: Path, wanted: str | None) -> str:
    schema, _ = _open(file)
    fit = [field.name for field in schema if _holds_bytes(field.type)]
    if wanted is None and fit:
        return str(fit[0])
    if wanted in fit:
        return str(wanted)
    missing = "no column of encoded images" if wanted is None else f"no column '{wanted}' of encoded images"
    raise UserError(f"{file} has {missing}, binary or with a field `bytes`{nearest(wanted or 'image', schema.names)}")


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _labels(file: Path, image: str) -> pd.DataFrame:
    """Return the columns that can be labels, with classes by their names."""
    schema, _ = _open(file)
    columns = [field.name for field in schema if field.name not in (image, "file") and _is_plain(field.type)]
    parts = list(_open(file, columns)[1])
    cells = {name: [cell for part in parts for cell in part.column(name).to_pylist()] for name in columns}
    for name, classes in _class_names(schema).items():
        if name in cells:
            cells[name] = [classes[n] if n is not None and 0 <= n < len(classes) else None for n in cells[name]]
    return pd.DataFrame(cells, index=range(sum(part.num_rows for part in parts)), dtype=object)


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_plain(kind.value_type)
    return not (pa.types.is_nested(kind) or _holds_bytes(kind))


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of the classes that are numbers, as `datasets` writes them into a file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: [str(one) for one in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and "names" in feature
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _contents(places: Sequence[tuple[Path, str]]) -> Iterator[bytes | None]:
    for file, column in places:
        for batch in _open(file, [column])[1]:
            cells = batch.column(0)
            if pa.types.is_struct(cells.type):
                cells = cells.field("bytes")
            yield from (cell.as_py() for cell in cells)


def _content(load: Stream[bytes | None], number: int) -> bytes:
    content = load(number)
    if content is None:
        raise BrokenImageError("no bytes, or a path alone")
    return content
