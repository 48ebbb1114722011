"""Turning what a reader found into a dataset: decode, quarantine, frame, split, describe.

Images are written as soon as they are framed, so that memory holds a few of them and the table.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.columns import describe, label_column, notes_on_missing
from pipeline_lib.data.dataset import IMAGES, LABEL_PREFIX, ImageWriter, write_table
from pipeline_lib.data.framing import Chunk, framed
from pipeline_lib.data.kept import Kept
from pipeline_lib.data.samples import Reading, Sample
from pipeline_lib.data.split import draw_split, refuse_torn_groups
from pipeline_lib.labels import KINDS
from pipeline_lib.labels.kind import class_name, is_missing

NATIVE_MODE = {1: "L", 3: "RGB"}


def ingest(
    reading: Reading,
    kinds: Mapping[str, str],
    folder: Path,
    *,
    size: int,
    channels: int,
    content: int,
    background: int,
    invert: bool,
    levels: Sequence[int] = (0, 255),
    max_broken: float,
    test_fraction: float,
    limit: int | None,
    seed: int,
    stratify: bool = True,
    workers: int | None = None,
    kept: Kept | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Decode and frame every sample, write the dataset into ``folder``, and return its card.

    ``kinds`` maps each label to a kind of ``pipeline_lib.labels``. Broken pictures are left out and listed in the
    card; ``limit`` takes that many samples at random. ``stratify`` makes the split alike in the classes of the first
    of ``kinds`` that has classes and is given here; :func:`~pipeline_lib.data.split.draw_split` says how it is drawn.
    ``workers`` is the number of threads, on which no byte depends; None takes all cores. ``kept`` are frames of earlier
    runs, on which none depends either. ``about`` is put into the card beside what is found; its ``notes`` are sentences
    for the person who watches.

    Raises UserError for a reading without samples, when the share of broken pictures exceeds ``max_broken``, for a
    label of the wrong kind, and for a group that the user's own splits tear.
    """
    if content > size:
        raise UserError(f"content = {content} px does not fit into the frame of size = {size} px: make it at most that")
    samples = _limited(reading.samples, limit, seed)
    if not samples:
        raise UserError("the dataset has no image: put some there")
    measures = {name: reading.measures[name] for name in kinds if name in reading.measures}
    found = _Found((size, size, channels), {name: [] for name in measures})
    framing = {
        "size": size, "channels": channels, "content": content, "background": background, "invert": invert,
        "levels": levels,
    }  # fmt: skip
    find, order = kept.find if kept else None, reading.in_order
    with (
        ImageWriter(folder / IMAGES, (size, size, channels)) as writer,
        kept.recording(folder / IMAGES) if kept else nullcontext() as note,
    ):
        for chunk in framed(samples, framing, measures, in_order=order, workers=workers, find=find):
            writer.append(chunk.images)
            found.add(chunk)
            if note:
                note(chunk)
    _refuse_broken(found.quarantined, len(samples), max_broken)
    table, notes = _table(found, reading, kinds, test_fraction, seed, stratify)
    mean, std = found.moments()
    labels = [name for name in kinds if LABEL_PREFIX + name in table]
    card = {
        **(about or {}),
        "num_images": len(table),
        "shape": [len(table), size, size, channels],
        "mean": mean,
        "std": std,
        "splits": dict(sorted(Counter(table["split"]).items())),
        "labels": {name: describe(table[LABEL_PREFIX + name], kinds[name]) for name in labels},
        "quarantined": found.quarantined,
        "passed_over": dict(reading.passed_over),
        "converted": {m: n for m, n in sorted(found.modes.items()) if m != NATIVE_MODE[channels]},
        "original_sizes": dict(found.sizes.most_common(20)),
        "notes": [*reading.notes, *notes_on_missing(reading, kinds), *notes],
    }
    write_table(folder, table, card)
    return card


@dataclass
class _Found:
    """What is known of the images that were written, and of those that were not."""

    shape: tuple[int, int, int]
    measured: dict[str, list[float | None]]
    samples: list[Sample] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    quarantined: list[dict[str, str]] = field(default_factory=list)
    modes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        # Sums of whole numbers are exact, in whatever order; over images first, which is what NumPy is quick at.
        self.sums_HWC, self.squares_HWC = np.zeros(self.shape, np.int64), np.zeros(self.shape, np.int64)

    def add(self, chunk: Chunk) -> None:
        """Take note of some images."""
        self.samples += chunk.samples
        self.hashes += chunk.hashes
        self.quarantined += ({"path": sample.path, "reason": reason} for sample, reason in chunk.broken)
        self.modes.update(chunk.modes)
        self.sizes.update(f"{width}x{height}" for width, height in chunk.sizes)
        for name, values in chunk.measured.items():
            self.measured[name] += values
        flat = chunk.images.reshape(len(chunk.images), math.prod(self.shape))
        self.flags += np.where((flat == flat[:, :1]).all(axis=1), "blank", "").tolist()
        self.sums_HWC += chunk.images.sum(axis=0, dtype=np.uint32)
        self.squares_HWC += np.square(chunk.images, dtype=np.uint16).sum(axis=0, dtype=np.uint32)

    def moments(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation of each channel in 0-1."""
        total = self.shape[0] * self.shape[1] * len(self.samples)
        mean = self.sums_HWC.sum(axis=(0, 1)) / total
        std = np.sqrt((self.squares_HWC.sum(axis=(0, 1)) / total - mean**2).clip(0))
        return (mean / 255).tolist(), (std / 255).tolist()


def _limited(samples: list[Sample], limit: int | None, seed: int) -> list[Sample]:
    if limit is None or limit >= len(samples):
        return samples
    chosen = np.random.default_rng(derive_seed(seed, "limit")).choice(len(samples), limit, replace=False)
    return [samples[index] for index in sorted(chosen)]


def _table(
    found: _Found, reading: Reading, kinds: Mapping[str, str], test_fraction: float, seed: int, stratify: bool
) -> tuple[pd.DataFrame, list[str]]:
    """Return the table, and notes on what was changed in the labels."""
    columns, notes = {}, []
    for name, kind in kinds.items():
        if name in reading.labels or name in reading.measures:
            read = [sample.labels.get(name) for sample in found.samples]
            columns[name], said = label_column(name, found.measured.get(name, read), kind)
            notes += said
    groups = [None if is_missing(sample.group) else class_name(sample.group) for sample in found.samples]
    given = [sample.split for sample in found.samples]
    refuse_torn_groups(groups, given)
    keys = [digest if group is None else group for group, digest in zip(groups, found.hashes, strict=True)]
    candidates = [c for name, c in columns.items() if KINDS[kinds[name]].has_classes and c.notna().any()]
    classes = candidates[0].fillna("").tolist() if candidates and stratify else None
    table = pd.DataFrame(
        {
            "id": [f"{index:07d}" for index in range(len(keys))],
            "path": [sample.path for sample in found.samples],
            "sha256": found.hashes,
            "split": draw_split(keys, test_fraction, seed, given, classes),
            "group": pd.array(groups, dtype="string"),
            "flags": found.flags,
            **{LABEL_PREFIX + name: column for name, column in columns.items()},
        }
    )
    return table, notes


def _refuse_broken(quarantined: list[dict[str, str]], total: int, max_broken: float) -> None:
    share = len(quarantined) / total
    if share > max_broken or len(quarantined) == total:
        first = quarantined[0]
        raise UserError(
            f"{len(quarantined)} of {total} images are broken ({first['path']}: {first['reason']}), more than the "
            f"share max_broken = {max_broken:g} allows: mend or remove them, or raise max_broken"
        )
