"""Turning what a reader found into a dataset: decode, quarantine, frame, split, describe."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.progress import track
from pipeline_lib.core.seeds import derive_seed
from pipeline_lib.data.dataset import LABEL_PREFIX
from pipeline_lib.data.images import BrokenImageError, decode, frame
from pipeline_lib.data.samples import Reading, Sample

NATIVE_MODE = {1: "L", 3: "RGB"}


def ingest(
    reading: Reading,
    kinds: Mapping[str, str],
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
) -> tuple[np.ndarray, pd.DataFrame, dict[str, Any]]:
    """Decode and frame every sample; return images uint8 ``[N, H, W, C]``, the table and the card.

    ``kinds`` maps each label to multiclass, binary or regression. Broken pictures are left out and listed
    in the card; a UserError is raised when their share exceeds ``max_broken``. ``limit`` takes that many
    samples at random. Samples of one group, and pictures with equal bytes, fall into one split.
    """
    if content > size:
        raise UserError(f"content is {content} px, but the frame is image.size = {size} px: make it fit")
    samples = reading.samples
    if limit is not None and limit < len(samples):
        chosen = np.random.default_rng(derive_seed(seed, "limit")).choice(len(samples), limit, replace=False)
        samples = [samples[index] for index in sorted(chosen)]
    images = np.empty((len(samples), size, size, channels), dtype=np.uint8)
    kept: list[Sample] = []
    hashes, quarantined = [], []
    modes: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for sample in track(samples, "ingest", len(samples)):
        try:
            raw = sample.load()
            picture = decode(raw)
            images[len(kept)] = frame(picture, size, channels, content, background, invert, levels)
        except BrokenImageError as error:
            quarantined.append({"path": sample.path, "reason": str(error)})
            continue
        modes[picture.mode] += 1
        sizes["x".join(map(str, picture.size))] += 1
        hashes.append(hashlib.sha256(raw if isinstance(raw, bytes) else picture.tobytes()).hexdigest())
        kept.append(sample)
    _refuse_broken(quarantined, len(samples), max_broken)
    images = images[: len(kept)]
    table = _table(kept, hashes, reading, kinds, images, test_fraction, seed)
    mean, std = _moments(images)
    card = {
        "num_images": len(kept),
        "shape": list(images.shape),
        "mean": mean,
        "std": std,
        "splits": dict(sorted(Counter(table["split"]).items())),
        "labels": {name: _describe(table[LABEL_PREFIX + name], kinds[name]) for name in _present(reading, kinds)},
        "quarantined": quarantined,
        "converted": {m: n for m, n in sorted(modes.items()) if m != NATIVE_MODE[channels]},
        "original_sizes": dict(sizes.most_common(20)),
    }
    return images, table, card


def split_of(keys: Sequence[str], test_fraction: float, seed: int) -> list[str]:
    """Return "train" or "test" for each key, equal for equal keys and independent of all others."""
    limit = test_fraction * 2**31
    return ["test" if derive_seed(seed, "split", key) < limit else "train" for key in keys]


def _present(reading: Reading, kinds: Mapping[str, str]) -> list[str]:
    return [name for name in kinds if name in reading.labels or name in reading.measures]


def _table(
    samples: list[Sample],
    hashes: list[str],
    reading: Reading,
    kinds: Mapping[str, str],
    images: np.ndarray,
    test_fraction: float,
    seed: int,
) -> pd.DataFrame:
    groups = [None if sample.group is None else class_name(sample.group) for sample in samples]
    keys = [digest if group is None else group for group, digest in zip(groups, hashes, strict=True)]
    drawn = split_of(keys, test_fraction, seed)
    table = pd.DataFrame(
        {
            "id": [f"{index:07d}" for index in range(len(samples))],
            "path": [sample.path for sample in samples],
            "sha256": hashes,
            "split": [sample.split or split for sample, split in zip(samples, drawn, strict=True)],
            "group": pd.array(groups, dtype="string"),
            "flags": ["blank" if image.min() == image.max() else "" for image in images],
        }
    )
    _refuse_torn_groups(table)
    for name in _present(reading, kinds):
        measure = reading.measures.get(name)
        values = [measure(image) for image in images] if measure else [sample.labels.get(name) for sample in samples]
        table[LABEL_PREFIX + name] = _column(name, values, kinds[name])
    return table


def _column(name: str, values: list[Any], kind: str) -> pd.Series:
    if kind == "regression":
        numbers = [math.nan if value is None else _number(value) for value in values]
        wrong = [value for value, number in zip(values, numbers, strict=True) if number is None]
        if wrong:
            raise UserError(
                f"the label '{name}' holds {str(wrong[0])!r}, which is no finite number, but is a regression label in "
                "params.yaml: correct the table, or make the label multiclass"
            )
        return pd.Series(numbers, dtype="float64")
    # Classes are text, so that 1, 1.0 and "1" are one class whatever the table's format made of them.
    return pd.Series([None if value is None else class_name(value) for value in values], dtype="string")


def class_name(value: Any) -> str:
    """Return the text by which a class is known: whole numbers without a decimal point."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return str(value)


def natural_key(text: str) -> list[tuple[bool, int, str]]:
    """Return a sort key under which "2" comes before "10"."""
    return [_part_key(part) for part in re.split(r"(\d+)", text) if part]


def _part_key(part: str) -> tuple[bool, int, str]:
    # Of two whole numbers the one with more digits is larger; int() would fail on very long ones.
    digits = part.lstrip("0")
    return (False, len(digits), digits) if part.isdecimal() else (True, 0, part)


def _number(value: Any) -> float | None:
    """Return a finite number, NaN for "nan" (not labelled), or None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if math.isinf(number) else number


def _describe(column: pd.Series, kind: str) -> dict[str, Any]:
    known = column.dropna()
    described: dict[str, Any] = {
        "kind": kind,
        "num_labelled": len(known),
        "num_missing": len(column) - len(known),
    }
    if kind == "regression":
        described |= {"mean": float(known.mean()), "std": float(known.std(ddof=0))}
    else:
        counts = Counter(known)
        # A list of pairs, because JSON objects are written in the order of their keys.
        described["classes"] = sorted(sorted(counts), key=natural_key)
        described["counts"] = [counts[name] for name in described["classes"]]
    return described


def _moments(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel in 0-1, from exact sums, a batch at a time."""
    totals, squares = np.zeros(images.shape[3], np.int64), np.zeros(images.shape[3], np.int64)
    for start in range(0, len(images), 1024):
        batch = images[start : start + 1024].astype(np.int64)
        totals += batch.sum(axis=(0, 1, 2))
        squares += np.square(batch).sum(axis=(0, 1, 2))
    mean = totals / images[..., 0].size
    std = np.sqrt((squares / images[..., 0].size - mean**2).clip(0))
    return (mean / 255).tolist(), (std / 255).tolist()


def _refuse_torn_groups(table: pd.DataFrame) -> None:
    splits = table.dropna(subset="group").groupby("group")["split"].nunique()
    torn = splits.index[splits > 1]
    if len(torn):
        raise UserError(
            f"the group '{torn[0]}' is in the train and in the test split: give all its rows of the label table "
            "one split, or leave the column 'split' empty for them"
        )


def _refuse_broken(quarantined: list[dict[str, str]], total: int, max_broken: float) -> None:
    share = len(quarantined) / total
    if share > max_broken or len(quarantined) == total:
        first = quarantined[0]
        raise UserError(
            f"{len(quarantined)} of {total} images are broken ({first['path']}: {first['reason']}), more than the "
            f"share max_broken = {max_broken:g} allows: mend or remove them, or raise it in params.yaml"
        )
