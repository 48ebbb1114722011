"""Files that other programs can open, whose bytes are a function of their content alone.

The flow reads JSON with it and starts often, so what takes long to import is imported by what needs it.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def partial_path(path: Path) -> Path:
    """Return the name beside ``path`` under which it is written before it is whole."""
    return path.with_name(f".{path.name}.partial")


def remove(path: Path) -> None:
    """Remove the file or folder at ``path``, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush the file at ``path``, or every file under it, to the disk."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def publish(partial: Path, path: Path) -> None:
    """Put the finished ``partial`` in the place of ``path``: a reader sees the old one or the new one."""
    sync(partial)
    if partial.is_dir():
        remove(path)
    partial.replace(path)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to, published at the end and removed after an error."""
    partial = partial_path(path)
    remove(partial)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        publish(partial, path)
    except BaseException:
        remove(partial)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, with the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys; numbers that are not finite become null."""
    write_text(path, json.dumps(_plain(value), indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_npy(path: Path, array: "np.ndarray") -> None:
    """Write a C-ordered ``.npy`` file, never pickled."""
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)


def write_parquet(path: Path, table: "pd.DataFrame") -> None:
    """Write a parquet file without pandas' metadata, so that equal tables give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(arrow, path, compression="zstd")


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a CSV file, as ``dvc plots`` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, lineterminator="\n", float_format="%.6g")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # an array or a number of NumPy
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
