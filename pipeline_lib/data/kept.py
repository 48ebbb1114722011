"""Frames of earlier runs: a picture that was framed once, by the same code to the same frame, is not decoded again.

A run keeps its frames while it writes them, as another name of the very file that it writes, so one that was killed
leaves them, too. They are found by the hash of the picture's bytes, and removing them costs time and no result.
"""

import math
import os
import shutil
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline_lib.data.framing import Chunk, Framed
from pipeline_lib.data.samples import Sample

FRAMES, ROWS = "images.npy", "rows.txt"


@dataclass(frozen=True)
class _Row:
    """Where a frame is: in which open file, from which byte; and what was written of it."""

    file: int
    start: int
    check: int
    mode: str
    size: tuple[int, int]


class Kept:
    """Frames in ``folder``, which is for one way of framing alone; those beside it are removed once it is complete.

    ``digests`` are the SHA-256 of files whose content is known without reading them, by the names that samples have in
    ``file``. Raises no error for what is damaged or cannot be written: then pictures are decoded.

    Each frame has its CRC-32, because a machine that lost power may have kept the length of a file without its content.
    """

    def __init__(self, folder: Path, digests: Mapping[str, str]) -> None:
        self._folder, self._digests = folder, digests
        self._shape: tuple[int, ...] = ()
        self._runs = sorted((run for run in folder.glob("*") if run.name.isdecimal()), key=lambda run: int(run.name))
        self._rows: dict[str, _Row] = {}
        for run in self._runs:
            with suppress(OSError, ValueError):
                self._read(run)

    def find(self, sample: Sample) -> Framed | None:
        """Return the frame of a sample and what is known of its picture, or None."""
        digest = self._digests.get(sample.file or "")
        row = self._rows.get(digest or "")
        if sample.file is None or digest is None or row is None:
            return None
        with suppress(OSError):
            # What is behind a link may be out of bounds, which its reader knows.
            if stat.S_ISREG(os.lstat(sample.file).st_mode):
                content = os.pread(row.file, math.prod(self._shape), row.start)
                if zlib.crc32(content) == row.check:
                    return np.frombuffer(content, np.uint8).reshape(self._shape), digest, row.mode, row.size
        return None

    @contextmanager
    def recording(self, images: Path) -> Iterator[Callable[[Chunk], None]]:
        """Yield what takes note of each chunk that was written to the file ``images``, which has just been opened."""
        run = self._folder / str(int(self._runs[-1].name) + 1 if self._runs else 0)
        try:
            run.mkdir(parents=True)
            os.link(images, run / FRAMES)
            rows = (run / ROWS).open("w", encoding="ascii")
        except OSError:  # a file system without hard links
            yield lambda chunk: None
            return

        def note(chunk: Chunk) -> None:
            with suppress(OSError):  # whoever writes the images will say that the disk is full
                about = zip(chunk.images, chunk.hashes, chunk.modes, chunk.sizes, strict=True)
                rows.writelines(f"{h} {zlib.crc32(i)} {mode} {x} {y}\n" for i, h, mode, (x, y) in about)
                rows.flush()

        with rows:
            yield note
        for other in [*self._runs, *(left for left in self._folder.parent.iterdir() if left != self._folder)]:
            shutil.rmtree(other, ignore_errors=True)

    def _read(self, run: Path) -> None:
        file = os.open(run / FRAMES, os.O_RDONLY)
        with open(file, "rb", closefd=False) as opened:
            np.lib.format.read_magic(opened)
            # Of a run that was killed it says that there are none yet.
            shape, _, _ = np.lib.format.read_array_header_1_0(opened)
            start = opened.tell()
        self._shape = shape[1:]  # the same in all runs, of one way of framing
        with (run / ROWS).open(encoding="ascii") as rows:
            for number, row in enumerate(rows):
                digest, check, mode, width, height = row.split()
                place = start + number * math.prod(self._shape)
                self._rows[digest] = _Row(file, place, int(check), mode, (int(width), int(height)))
