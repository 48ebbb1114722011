"""Readers: each yields the pictures of one kind of source. A new one is a file and a line here."""

from collections.abc import Callable, Mapping

from pipeline_lib.data.readers.class_folders import class_folders
from pipeline_lib.data.readers.embedded import digits, mnist5k
from pipeline_lib.data.readers.folder import folder
from pipeline_lib.data.samples import Reading

READERS: Mapping[str, Callable[..., Reading]] = {
    "class_folders": class_folders,
    "digits": digits,
    "folder": folder,
    "mnist5k": mnist5k,
}

__all__ = ["READERS"]
