"""Readers: each yields the pictures of one kind of source. A new one is a file and a line here."""

from collections.abc import Callable, Mapping

from pipeline_lib.data.readers.arrays import arrays
from pipeline_lib.data.readers.class_folders import class_folders
from pipeline_lib.data.readers.embedded import digits, mnist5k
from pipeline_lib.data.readers.folder import folder
from pipeline_lib.data.readers.idx import idx
from pipeline_lib.data.readers.parquet import parquet
from pipeline_lib.data.readers.shards import shards
from pipeline_lib.data.samples import Reading

READERS: Mapping[str, Callable[..., Reading]] = {
    "arrays": arrays,
    "class_folders": class_folders,
    "digits": digits,
    "folder": folder,
    "idx": idx,
    "mnist5k": mnist5k,
    "parquet": parquet,
    "shards": shards,
}

__all__ = ["READERS"]
