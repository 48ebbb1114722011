"""What other libraries and the system raise, said as our own errors are: one table for all of it."""

import errno
import json
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline_lib.core.errors import UserError

_OF_SYSTEM = {
    errno.ENOSPC: "the disk of {place} is full: free some space and run again",
    errno.EDQUOT: "your quota on the disk of {place} is used up: free some space and run again",
    errno.EROFS: "the disk of {place} can only be read: make it writable, or work elsewhere",
    errno.EACCES: "{file} may not be used here: see to its permissions, or to those of its folder",
    errno.EPERM: "{file} may not be changed here: see to its permissions and attributes",
    errno.EMFILE: "too many files are open at a time: allow more, as with 'ulimit -n 65536', and run again",
    errno.ENFILE: "too many files are open on this machine: close some programs and run again",
    errno.ENAMETOOLONG: "the name of {file} is too long for this disk: choose a shorter one",
    errno.EIO: "the disk of {place} fails to read or write: look after it before you go on",
    errno.ENOMEM: "there is not enough memory for this: lower batch_size, or end other programs",
}
# By the words in a message where a library does not pass on the number, and by the name of an error's class.
_DAMAGED = ("ArrowInvalid", "SafetensorError", "JSONDecodeError", "UnicodeDecodeError", "EOFError", "BadZipFile")
_NO_MEMORY = ("MemoryError", "OutOfMemoryError", "ArrowMemoryError")
_OF_GPU = ("CUDA error", "CUDA driver", "NVIDIA driver", "cuDNN error", "NCCL error", "cuBLAS", "CUBLAS_STATUS")


class DeviceError(Exception):
    """A device failed: nobody's mistake, and it may pass when it is tried again."""


def translated(error: BaseException, inputs: Iterable[Path] = ()) -> Exception | None:
    """Return a UserError or a DeviceError that says what ``error`` means to the user, or None if the code is to blame.

    ``inputs`` are files and folders that were read; one of their files that is cut short or damaged is named.
    """
    for link in _chain(error):
        kinds = {kind.__name__ for kind in type(link).__mro__}
        if number := _number(link):
            file = _shown(getattr(link, "filename", None))
            place = Path(file).parent.resolve() if file else Path.cwd()
            return UserError(_OF_SYSTEM[number].format(place=place, file=file or "a file"))
        if kinds.intersection(_NO_MEMORY) or "can't allocate memory" in str(link):
            return UserError(_OF_SYSTEM[errno.ENOMEM])
        if any(words in str(link) for words in _OF_GPU):
            return DeviceError(f"the GPU failed ({_first_line(link)}): run again, or set device to cpu")
        if kinds.intersection(_DAMAGED):
            file = str(next(damaged(inputs), "a file that was read"))
            return UserError(f"{file} is cut short or damaged ({_first_line(link)}): have it made or fetched again")
    return None


def damaged(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files among ``paths``, and in the folders among them, that are cut short or damaged."""
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (file for file in files if file.is_file() and _is_damaged(file))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno in _OF_SYSTEM:
        return error.errno
    return next((number for number in _OF_SYSTEM if os.strerror(number) in str(error)), None)


def _is_damaged(file: Path) -> bool:
    """Say whether a file of a kind that says where it ends does not end there; any other kind is thought whole."""
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        try:
            if file.suffix == ".parquet":
                head = opened.read(4)
                opened.seek(-4, os.SEEK_END)
                return head != b"PAR1" or opened.read(4) != b"PAR1"
            if file.suffix == ".safetensors":
                (length,) = struct.unpack("<Q", opened.read(8))
                header = json.loads(opened.read(length))
                ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
                return size != 8 + length + max(ends, default=0)
            if file.suffix == ".json":
                json.loads(opened.read())
        except (OSError, ValueError, KeyError, struct.error):
            return True
    return False


def _shown(name: object) -> str:
    """Return the path of an error relative to the working directory where it is in it."""
    if not isinstance(name, (str, bytes)):
        return ""
    path = Path(os.fsdecode(name))
    text = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    return text if len(text) <= 200 else f"{text[:100]}...{text[-100:]}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
