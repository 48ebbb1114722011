"""Decoding and framing on all cores, in the order of the samples, so that what is written depends on no number of them.

Threads do it: what takes long of a picture, reading, hashing, decoding and resizing it, lets other threads go on.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from pipeline_lib.core.processes import num_cores
from pipeline_lib.core.progress import progress
from pipeline_lib.data.images import BrokenImageError, decode, frame
from pipeline_lib.data.samples import Sample

# Of the frames that one thread makes before it hands them over: enough to do so seldom, and little to wait in memory.
CHUNK_BYTES, MOST_IN_CHUNK = 2**16, 32

Measure = Callable[[np.ndarray], float | None]
# Of a picture: its frame, uint8 [H, W, C], the hash of its bytes, its mode and its size (width, height).
Framed = tuple[np.ndarray, str, str, tuple[int, int]]
Find = Callable[[Sample], Framed | None]


@dataclass(frozen=True)
class Chunk:
    """Samples that follow one another: those that were framed, and the others with the reason.

    ``images`` are uint8 ``[B, H, W, C]``, ``hashes`` the SHA-256 of the encoded bytes (of the pixels, where there are
    none), ``modes`` and ``sizes`` (width, height) those of the pictures, ``measured`` the value of each measure.
    """

    samples: Sequence[Sample]
    images: np.ndarray
    hashes: Sequence[str]
    modes: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    measured: Mapping[str, Sequence[float | None]]
    broken: Sequence[tuple[Sample, str]]


def framed(
    samples: Sequence[Sample],
    framing: Mapping[str, Any],
    measures: Mapping[str, Measure],
    *,
    in_order: bool = False,
    workers: int | None = None,
    find: Find | None = None,
) -> Iterator[Chunk]:
    """Yield the samples in chunks, in their order; ``framing`` are the arguments of :func:`~.images.frame`.

    ``in_order`` loads them one after the other in this thread, see :class:`~.samples.Reading`. ``workers`` is the
    number of threads; None takes one for each core that this process may use. ``find`` returns what was framed before.
    """
    workers = workers or num_cores()
    length = min(max(1, CHUNK_BYTES // (framing["size"] ** 2 * framing["channels"])), MOST_IN_CHUNK)
    waiting: deque[Future[Chunk]] = deque()
    with ThreadPoolExecutor(workers, "frame") as pool, progress("ingest", len(samples)) as tracker:
        for start in range(0, len(samples), length):
            part = samples[start : start + length]
            loaded = [_load(sample) for sample in part] if in_order else None
            waiting.append(pool.submit(_frame_all, part, loaded, framing, measures, find))
            if len(waiting) > workers + 1:
                yield _next(waiting, tracker.advance)
        while waiting:
            yield _next(waiting, tracker.advance)


def _next(waiting: deque[Future[Chunk]], advance: Callable[[int], None]) -> Chunk:
    chunk = waiting.popleft().result()
    advance(len(chunk.samples) + len(chunk.broken))
    return chunk


def _load(sample: Sample) -> bytes | Image.Image | BrokenImageError:
    try:
        return sample.load()
    except BrokenImageError as error:
        return error


def _frame_all(
    samples: Sequence[Sample],
    loaded: Sequence[bytes | Image.Image | BrokenImageError] | None,
    framing: Mapping[str, Any],
    measures: Mapping[str, Measure],
    find: Find | None,
) -> Chunk:
    kept: list[Sample] = []
    found: list[Framed] = []
    broken: list[tuple[Sample, str]] = []
    for place, sample in enumerate(samples):
        try:
            known = find(sample) if find else None
            found.append(known or _frame_one(_load(sample) if loaded is None else loaded[place], framing))
            kept.append(sample)
        except BrokenImageError as error:
            broken.append((sample, str(error)))
    shape = (len(found), framing["size"], framing["size"], framing["channels"])
    images = np.array([image for image, _, _, _ in found], np.uint8).reshape(shape)
    return Chunk(
        kept,
        images,
        hashes=[digest for _, digest, _, _ in found],
        modes=[mode for _, _, mode, _ in found],
        sizes=[size for _, _, _, size in found],
        measured={name: [measure(image) for image in images] for name, measure in measures.items()},
        broken=broken,
    )


def _frame_one(raw: bytes | Image.Image | BrokenImageError, framing: Mapping[str, Any]) -> Framed:
    if isinstance(raw, BrokenImageError):
        raise raw
    picture = decode(raw, enough=framing["content"])
    image = frame(picture, **framing)
    digest = hashlib.sha256(raw if isinstance(raw, bytes) else picture.tobytes()).hexdigest()
    return image, digest, picture.mode, picture.info.get("size", picture.size)
