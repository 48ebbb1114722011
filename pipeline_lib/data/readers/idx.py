"""IDX files, as MNIST and its kin come in: images and labels in files of their own, gzipped or not."""

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline_lib.core.errors import UserError, reason
from pipeline_lib.data.readers.parts import find_parts, splits_of
from pipeline_lib.data.readers.streams import MOST_DEFLATED, Stream
from pipeline_lib.data.samples import LABEL, Reading, Sample

# The codes of types, of which images are the first.
TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


@dataclass(frozen=True)
class _Array:
    name: str
    file: Path
    shape: tuple[int, ...]
    dtype: str


def idx(path: Path, label_table: str | None, labels: tuple[str, ...]) -> Reading:
    """Read the images of IDX files under the folder ``path`` (or of that one file), in the order of their names.

    Files end in ``ubyte``, ``.idx`` or either and ``.gz``, such as train-images-idx3-ubyte.gz. The one with ``labels``
    where the images' has ``images`` holds their label, ``label``. Names that tell of train and test (t10k) are the
    split.

    Raises UserError for damaged files, for labels of another number than their images, and as
    :func:`~pipeline_lib.data.readers.parts.find_parts` does.
    """
    parts = find_parts(path, ("ubyte", "ubyte.gz", ".idx", ".idx.gz"), label_table)
    found = [_array(name, file) for name, file in parts.files.items()]
    pictures = [array for array in found if len(array.shape) == 3 and array.dtype == TYPES[8]]
    told = {_key(array.name): array for array in found if len(array.shape) == 1}
    if not pictures:
        raise UserError(f"{path} holds no images: an IDX file of them has three dimensions, and bytes in it")
    sides, notes = splits_of(array.name for array in pictures)
    load = Stream(partial(_pictures, pictures))
    samples: list[Sample] = []
    for array in pictures:
        cells = _cells(array, told.get(_key(array.name)))
        for row, cell in enumerate(cells):
            said = {LABEL: cell} if LABEL in labels else {}
            samples.append(Sample(f"{array.name}/{row:07d}", partial(load, len(samples)), said, sides[array.name]))
    has, offered = ((LABEL,), ()) if LABEL in labels else ((), (LABEL,))
    if not any(_key(array.name) in told for array in pictures):
        has, offered = (), ()
    return Reading(samples, has, {}, offered, parts.passed_over, (*parts.notes, *notes), in_order=True)


def _key(name: str) -> str:
    """Return what the names of a set's images and labels have in common."""
    return re.sub(r"images?|labels?|idx\d|\.gz$|[^a-z0-9/]", "", name.lower())


def _opened(file: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb")


def _array(name: str, file: Path) -> _Array:
    try:
        with _opened(file) as opened:
            zeros, code, dimensions = struct.unpack(">HBB", opened.read(4))
            if zeros or code not in TYPES:
                raise ValueError("it does not begin as an IDX file")
            shape = struct.unpack(f">{dimensions}I", opened.read(4 * dimensions))
        most = file.stat().st_size * (MOST_DEFLATED if file.suffix.lower() == ".gz" else 1)
        if math.prod(shape) * np.dtype(TYPES[code]).itemsize > most:
            raise ValueError("it is cut short")
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{file} cannot be read ({reason(error)}): fetch it anew, or remove it") from None
    return _Array(name, file, shape, TYPES[code])


def _pictures(arrays: Sequence[_Array]) -> Iterator[Image.Image]:
    for array in arrays:
        with _opened(array.file) as opened:
            opened.read(4 + 4 * len(array.shape))
            for _ in range(array.shape[0]):
                pixels = np.frombuffer(opened.read(math.prod(array.shape[1:])), np.uint8)
                yield Image.fromarray(pixels.reshape(array.shape[1:]))


def _cells(images: _Array, labels: _Array | None) -> list[Any]:
    if labels is None:
        return [None] * images.shape[0]
    if labels.shape != images.shape[:1]:
        raise UserError(
            f"{labels.file} holds {labels.shape[0]} labels for the {images.shape[0]} images of {images.name}: "
            "fetch both anew"
        )
    try:
        with _opened(labels.file) as opened:
            opened.read(8)
            return np.frombuffer(opened.read(), labels.dtype, labels.shape[0]).tolist()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{labels.file} cannot be read ({reason(error)}): fetch it anew") from None
