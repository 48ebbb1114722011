"""Splits that names of folders, files and arrays tell: "train", "test", and the words for what lies between."""

import re
from collections.abc import Iterable

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing", "t10k"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval"), "validation"),
}


def split_in(name: str) -> str | None:
    """Return the split that one of the words of a name tells: of "cifar-train_00001.tar" it is "train"."""
    return next((SPLITS[word] for word in re.split(r"[^a-z0-9]+", name.lower()) if word in SPLITS), None)


def without_split(name: str) -> str:
    """Return a name without the words that tell a split: of "x_train" it is "x"."""
    words = re.split(r"[^A-Za-z0-9]+", name)
    kept = [word for word in words if word.lower() not in SPLITS]
    return "_".join(kept) if len(kept) < len(words) and kept else name


def sides_of(told: Iterable[str | None]) -> tuple[dict[str | None, str | None], tuple[str, ...]]:
    """Map the splits that were told to "train", "test", or None for what is left to the draw; and say what is done.

    What is held out for choosing scores where there is no test split, and else is learnt from. Where only one side
    would be left, or something is told of a part alone, nothing is taken from the names.
    """
    splits = set(told)
    if splits <= {None}:
        return dict.fromkeys(splits), ()
    known = ", ".join(sorted(filter(None, splits)))
    if None in splits or len(splits) < 2:
        why = "not all of them" if None in splits else "no other split"
        return dict.fromkeys(splits), (f"names tell of the split {known} and of {why}, so the test split is drawn",)
    sides: dict[str | None, str | None] = {"train": "train", "test": "test"}
    sides["validation"] = "train" if "test" in splits else "test"
    notes: tuple[str, ...] = (f"the splits are those of the names: {known}",)
    if "validation" in splits:
        notes += (f"the split validation is in the {sides['validation']} split",)
    return {split: sides[split] for split in splits if split}, notes
