"""Arrays of NumPy: an .npz file, or .npy files in a folder, with the pictures in one array and labels in others."""

import math
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from pipeline_lib.core.errors import UserError, nearest, reason
from pipeline_lib.data.readers.parts import find_parts, splits_of
from pipeline_lib.data.readers.splits import split_in, without_split
from pipeline_lib.data.readers.streams import MOST_DEFLATED, Stream
from pipeline_lib.data.samples import Reading, Sample, printable

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class _Array:
    """An array in a file, or in the ``member`` of an .npz file; ``where`` says so, and ``name`` names no split."""

    file: Path
    member: str | None
    where: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


def arrays(path: Path, label_table: str | None, labels: tuple[str, ...], *, images: str | None = None) -> Reading:
    """Read the images of an ``.npz`` or ``.npy`` file, or of all such files under a folder, in the order of names.

    An array ``[N, H, W]`` or ``[N, H, W, C]`` holds images, and one ``[N]`` or ``[N, 1]`` beside it, in the same .npz
    file or the same folder, a label under its name. Words for a split are no part of names: ``train_images`` and
    ``test_images`` are ``images`` of two splits. ``images`` names the array where there are several. Values are uint8,
    bool or, with one channel, uint16.

    Nothing is unpickled. Raises UserError for arrays that would have to be, for damaged files, for images of other
    types, where it is not clear which array holds the images, and as
    :func:`~pipeline_lib.data.readers.parts.find_parts` does.
    """
    parts = find_parts(path, (".npz", ".npy"), label_table)
    beside: dict[tuple[Path, str | None], list[_Array]] = defaultdict(list)
    for name, file in parts.files.items():
        for array in _arrays(name, file):
            beside[file if array.member else file.parent, split_in(Path(array.where).name)].append(array)
    sets = [(picked, group) for group in beside.values() if (picked := _images(path, group, images))]
    if not sets:
        wanted = "images: an array [N, H, W] or [N, H, W, C]" if images is None else f"array of images '{images}'"
        known = sorted({array.name for group in beside.values() for array in group})
        raise UserError(f"{path} holds no {wanted}; there are {', '.join(known)}{nearest(images or 'images', known)}")
    sides, notes = splits_of(picked.where for picked, _ in sets)
    load = Stream(partial(_pictures, [picked for picked, _ in sets]))
    samples: list[Sample] = []
    has, others = set[str](), set[str]()
    for picked, group in sets:
        columns = {each.name: each for each in group if _is_label(each, picked.shape[0])}
        has, others = has | columns.keys() & set(labels), others | columns.keys() - set(labels)
        cells = {name: _cells(columns[name]) for name in labels if name in columns}
        for row in range(picked.shape[0]):
            said = {name: cells[name][row] for name in cells}
            place = f"{picked.where}/{row:07d}"
            samples.append(Sample(place, partial(load, len(samples)), said, sides[picked.where]))
    found = tuple(name for name in labels if name in has)
    return Reading(samples, found, {}, tuple(sorted(others)), parts.passed_over, (*parts.notes, *notes), in_order=True)


def _arrays(name: str, file: Path) -> Iterator[_Array]:
    """Yield what arrays a file holds, by their headers alone."""
    try:
        if file.suffix.lower() == ".npy":
            yield _array(file, None, name, name.rpartition("/")[2], file.stat().st_size)
            return
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    where = f"{name}/{printable(info.filename)}"
                    most = info.compress_size * (1 if info.compress_type == zipfile.ZIP_STORED else MOST_DEFLATED)
                    yield _array(file, info.filename, where, printable(info.filename), most)
    except Exception as error:  # a damaged header makes zipfile and numpy raise nearly anything
        raise UserError(f"{file} cannot be read ({reason(error)}): save it anew, or remove it") from None


def _array(file: Path, member: str | None, where: str, name: str, most: int) -> _Array:
    """Return an array by its header; one with more than ``most`` bytes would be no more than claimed."""
    with _opened(file, member) as opened:
        shape, dtype = _header(opened)
    if math.prod(shape) * dtype.itemsize > most:
        raise ValueError(f"{where} is cut short")
    return _Array(file, member, where.removesuffix(".npy"), without_split(name.removesuffix(".npy")), shape, dtype)


@contextmanager
def _opened(file: Path, member: str | None) -> Iterator[IO[bytes]]:
    if member is None:
        with file.open("rb") as opened:
            yield opened
    else:
        with zipfile.ZipFile(file) as archive, archive.open(member) as opened:
            yield opened


def _header(opened: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Read the header of an array; raises ValueError for one that is pickled or stored by columns."""
    version = np.lib.format.read_magic(opened)
    if version not in HEADERS:
        raise ValueError(f"its format {version} is not known")
    shape, by_columns, dtype = HEADERS[version](opened)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which may run any code: save numbers or text instead")
    if by_columns and len(shape) > 1:
        raise ValueError("it is stored by columns: save it as numpy.ascontiguousarray makes it")
    return shape, dtype


def _images(path: Path, group: Sequence[_Array], wanted: str | None) -> _Array | None:
    fit = [array for array in group if len(array.shape) in (3, 4) and wanted in (None, array.name)]
    if len(fit) > 1:
        names = ", ".join(sorted(array.name for array in fit))
        raise UserError(f"{path} holds {names}, each of which may be images: write options: {{images: {fit[0].name}}}")
    if not fit:
        return None
    array = fit[0]
    channels = array.shape[3] if len(array.shape) == 4 else 1
    if channels not in (1, 3, 4):
        raise UserError(
            f"{array.where} of {path} has the shape {list(array.shape)}: save it as [N, H, W, C], C 1, 3 or 4"
        )
    if array.dtype not in (np.uint8, np.bool_) and not (
        array.dtype.kind == "u" and array.dtype.itemsize == 2 and channels == 1
    ):
        raise UserError(
            f"{array.where} of {path} is {array.dtype}, which does not say what is black and what is white: save it as "
            "uint8, from 0 to 255"
        )
    return array


def _pictures(arrays: Sequence[_Array]) -> Iterator[Image.Image]:
    for array in arrays:
        with _opened(array.file, array.member) as opened:
            _header(opened)
            shape = array.shape[1:3] if array.shape[3:] in ((), (1,)) else array.shape[1:]
            size = int(np.prod(shape)) * array.dtype.itemsize
            for _ in range(array.shape[0]):
                content = opened.read(size)
                if len(content) < size:
                    raise EOFError("it is cut short")
                pixels = np.frombuffer(content, array.dtype).reshape(shape)
                yield Image.fromarray(pixels * np.uint8(255) if array.dtype == np.bool_ else pixels)


def _is_label(array: _Array, length: int) -> bool:
    return array.shape in ((length,), (length, 1)) and array.dtype.kind in "biufUS"


def _cells(array: _Array) -> list[Any]:
    with _opened(array.file, array.member) as opened:
        cells = np.lib.format.read_array(opened, allow_pickle=False).ravel()
    return [cell.decode(errors="replace") if isinstance(cell, bytes) else cell for cell in cells.tolist()]
