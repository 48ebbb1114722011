from collections import Counter

import numpy as np
import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.data.split import draw_split, refuse_torn_groups


def random_keys(rng: np.random.Generator) -> list[str]:
    num_images = int(rng.integers(1, 200))
    num_keys = int(rng.integers(1, num_images + 1))
    return [f"k{key}" for key in (rng.pareto(0.7, num_images) * 3).astype(int) % num_keys]


@pytest.mark.parametrize("seed", range(150))
def test_whole_keys_are_drawn_near_the_fraction_and_neither_side_is_empty(seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys = random_keys(rng)
    classes = [str(name) for name in rng.integers(0, rng.integers(1, 8), len(keys))] if seed % 2 else None
    fraction = float(rng.uniform(0.01, 0.99))
    split = draw_split(keys, fraction, seed, classes_N=classes)
    sides = {key: {side for other, side in zip(keys, split, strict=True) if other == key} for key in keys}
    assert all(len(found) == 1 for found in sides.values())
    if len(sides) == 1:
        assert set(split) == {"test"}
        return
    assert set(split) == {"train", "test"}
    assert abs(split.count("test") - fraction * len(keys)) <= max(Counter(keys).values())


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(20))
def test_five_groups_leave_no_side_empty(fraction: float, seed: int) -> None:
    split = draw_split([f"g{index % 5}" for index in range(50)], fraction, seed)
    assert set(split) == {"train", "test"}


@pytest.mark.parametrize("sizes", [[1000, 1], [1000, 1, 1, 1, 1], [1, 1], [30, 20]])
def test_a_large_group_does_not_leave_a_side_empty(sizes: list[int]) -> None:
    keys = [f"g{group}" for group, size in enumerate(sizes) for _ in range(size)]
    for seed in range(10):
        split = draw_split(keys, 0.2, seed)
        assert set(split) == {"train", "test"}
        if sizes[0] == 1000:
            assert split[0] == "train", "the test split would be nearly everything"


@pytest.mark.parametrize("fraction", [0.2, 0.33, 0.5])
def test_each_class_has_its_share_and_rounding_evens_out(fraction: float) -> None:
    rng = np.random.default_rng(0)
    classes = [str(name) for name in (rng.pareto(0.8, 3000) * 4).astype(int) % 700]
    split = draw_split([f"k{index}" for index in range(3000)], fraction, 1, classes_N=classes)
    total, test = Counter(classes), Counter(np.array(classes)[np.array(split) == "test"].tolist())
    assert max(abs(test[name] - fraction * total[name]) for name in total) <= 1
    assert abs(split.count("test") - fraction * 3000) <= 1


def test_a_group_counts_for_its_most_frequent_class() -> None:
    keys = [f"g{index // 10}" for index in range(200)]
    classes = [("a" if index // 10 % 2 else "b") if index % 10 else "0" for index in range(200)]
    split = np.array(draw_split(keys, 0.2, 0, classes_N=classes))
    assert Counter(np.array(classes)[split == "test"].tolist()) == {"a": 18, "b": 18, "0": 4}


def test_datasets_agree_on_the_keys_that_they_share() -> None:
    draw = np.random.default_rng(0).permutation(3000)
    parts = ([f"k{index}" for index in draw[:2000]], [f"k{index}" for index in draw[1000:]])
    first, second = (dict(zip(keys, draw_split(keys, 0.3, 5), strict=True)) for keys in parts)
    shared = first.keys() & second.keys()
    assert len(shared) == 1000
    assert np.mean([first[key] == second[key] for key in shared]) > 0.95
    other = dict(zip(first, draw_split(list(first), 0.3, 6), strict=True))
    assert np.mean([first[key] == other[key] for key in first]) < 0.7, "another seed draws another split"


def test_the_order_of_the_images_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    keys = random_keys(rng)
    order = rng.permutation(len(keys))
    split = draw_split(keys, 0.4, 0)
    assert draw_split([keys[row] for row in order], 0.4, 0) == [split[row] for row in order]


def test_what_the_user_says_stands_and_others_of_the_key_follow() -> None:
    keys = ["a", "a", "b", "b", *(f"k{index}" for index in range(10))]
    given = ["test", None, None, "train", *[None] * 10]
    split = draw_split(keys, 0.3, 0, given_N=given)
    assert split[:4] == ["test", "test", "train", "train"] and split[4:].count("test") == 3
    assert draw_split(["a", "a", "a"], 0.3, 0, given_N=["train", "test", None]) == ["train", "test", "test"]
    assert draw_split(["a", "b"], 0.3, 0, given_N=["train", "train"]) == ["train", "train"]


@pytest.mark.parametrize(("said", "drawn"), [("train", "test"), ("test", "train")])
def test_what_is_left_to_the_draw_fills_a_side_that_is_empty(said: str, drawn: str) -> None:
    fraction = 0.01 if drawn == "test" else 0.99
    split = draw_split(["a", "b", "c"], fraction, 0, given_N=[said, None, None])
    assert split[0] == said and drawn in split[1:]


def test_a_group_that_the_user_tears_is_refused() -> None:
    refuse_torn_groups(["a", "a", None, None, "b"], ["test", None, "train", "test", "train"])
    with pytest.raises(UserError, match="the group 'a' is in the train and in the test split"):
        refuse_torn_groups(["a", "b", "a"], ["test", "train", "train"])
