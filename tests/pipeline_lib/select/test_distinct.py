"""What goes before anything is chosen: planted copies, leaks and wrong labels, and nothing else."""

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.audit.alterations import alter
from pipeline_lib.data.roles import Role
from pipeline_lib.select.distinct import REASONS, Searched, left_out
from tests.pipeline_lib.audit.test_near import pictures

NUM, COPIES = 120, 10


def role(name: str, images: np.ndarray, tested: np.ndarray | None = None, near_test: tuple[int, ...] = ()) -> Role:
    num = len(images)
    tests = np.zeros(num, dtype=bool) if tested is None else tested
    table = pd.DataFrame(
        {
            "id": [f"{name}/{row}" for row in range(num)],
            "key": [f"{name} {row}" for row in range(num)],
            "split": np.where(tests, "test", "train"),
            "near_test": np.isin(np.arange(num), near_test),
        }
    )
    return Role(name, images, table, {})


def rescaled(images: np.ndarray) -> np.ndarray:
    return alter(images, "rescaled", np.random.default_rng(0))


@pytest.fixture(scope="module")
def searched() -> Searched:
    """A source of 120 pictures, then 10 equal to the first, 10 nearly so, 10 equal to test images of the target,
    10 nearly so, one twice, and 10 equal to train images; with labels, 6 of which are wrong."""
    images, of_target = pictures(NUM, 0), pictures(NUM, 1)
    tested = np.arange(NUM) >= 60
    parts = [
        images,
        images[:COPIES],
        rescaled(images[20 : 20 + COPIES]),
        of_target[60 : 60 + COPIES],
        rescaled(of_target[80 : 80 + COPIES]),
        rescaled(of_target[80:81]),
        of_target[:COPIES],
    ]
    source = np.concatenate(parts)
    places = np.arange(len(source)) % 3
    features = (10 * np.eye(3)[places] + np.random.default_rng(0).normal(size=(len(source), 3))).astype(np.float32)
    classes = np.array(["a", "b", "c"], dtype=object)[places]
    classes[50:56] = np.array(["b", "c", "a"], dtype=object)[places[50:56]]
    classes[:5] = None
    # Equal to a test image, though a train image of the target equals it, too.
    of_target[5] = of_target[62]
    return Searched(role("source", source, near_test=(40, 41)), role("target", of_target, tested), features, classes, 0)


def rows(found: np.ndarray) -> set[int]:
    return set(np.flatnonzero(found).tolist())


def span(start: int, count: int = COPIES) -> set[int]:
    return set(range(start, start + count))


def test_each_reason_finds_what_was_planted_and_nothing_else(searched: Searched) -> None:
    found = {name: rows(reason(searched)) for name, reason in REASONS.items()}
    assert found["tested"] == {40, 41}
    assert found["duplicates"] == span(NUM) | {160}
    near = found["near_duplicates"]
    assert found["duplicates"] <= near and len(near & span(NUM + COPIES)) >= 9
    assert not near - found["duplicates"] - span(NUM + COPIES)
    leaks = found["leaks"]
    assert span(140) <= leaks and len(leaks & (span(150) | {160})) >= 10
    assert (150 in leaks) == (160 in leaks), "what equals a leak is one"
    assert not leaks - span(140) - span(150) - {160}
    assert found["label_errors"] == span(50, 6)


def test_an_image_is_counted_once_and_only_for_what_was_asked(searched: Searched) -> None:
    everything = left_out(searched, list(REASONS)[::-1])
    assert list(everything) == list(REASONS)
    assert sum(everything.values()).max() == 1
    assert rows(everything["duplicates"]) == span(NUM) and 160 in rows(everything["leaks"])
    assert list(left_out(searched, ["duplicates"])) == ["duplicates"]


def test_of_few_images_only_equal_ones_are_found() -> None:
    images = pictures(20, 3)
    source = role("source", np.concatenate([images, images[:2], rescaled(images[5:7])]))
    target = role("target", images[10:14], np.ones(4, dtype=bool))
    searched = Searched(source, target, np.empty((24, 0), np.float32), None, 0)
    found = left_out(searched, ["near_duplicates", "leaks"])
    assert rows(found["near_duplicates"]) == {20, 21} and rows(found["leaks"]) == {10, 11, 12, 13}


def test_blank_images_are_no_copies_of_each_other() -> None:
    images = np.concatenate([np.zeros((4, 24, 24, 3), np.uint8), pictures(10, 0)])
    searched = Searched(role("s", images), role("t", images, np.ones(14, dtype=bool)), images[:, 0, 0], None, 0)
    assert not rows(REASONS["duplicates"](searched)) and rows(REASONS["leaks"](searched)) == span(4)


def test_without_labels_there_is_no_label_error() -> None:
    images = pictures(10, 0)
    searched = Searched(role("s", images), role("t", images), np.empty((10, 0), np.float32), None, 0)
    with pytest.raises(ValueError, match="label errors"):
        left_out(searched, ["label_errors"])
