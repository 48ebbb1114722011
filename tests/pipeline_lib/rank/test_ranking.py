import math

import numpy as np
import pytest

from pipeline_lib.rank import SCORES, Domain, Examples
from pipeline_lib.rank.ranking import halves, ranking
from pipeline_lib.rank.run import rank_datasets, rank_encoders
from pipeline_lib.rank.words import first_of, sentence, table


def normal(num: int, mean: float = 0.0, seed: int = 0, dims: int = 5) -> Domain:
    features = mean + np.random.default_rng(seed).normal(size=(num, dims))
    return Domain(features, np.array([f"{seed}-{row}" for row in range(num)]))


def names(ranked: dict) -> list[str]:
    return [one["name"] for one in ranked["candidates"]]


def test_halves_are_of_keys_and_differ() -> None:
    keys = np.repeat(np.arange(11), 3).astype(str)
    drawn = list(halves(keys, 20, 0))
    for rows in drawn:
        assert len(np.unique(keys[rows])) == 6 and len(rows) == 18
    assert len({tuple(rows) for rows in drawn}) > 15
    assert all(np.array_equal(*pair) for pair in zip(drawn, halves(keys, 20, 0), strict=True))


def test_ranks_and_their_intervals() -> None:
    whole = {"a": {"one": 1.0, "two": 5.0}, "b": {"one": 2.0, "two": 6.0}, "c": {"one": 3.0, "two": 9.0}}
    other = {**whole, "a": {"one": 2.5, "two": 6.5}}
    found = ranking([whole, *[whole] * 5, *[other] * 5], larger_is_better=False)
    assert names(found) == ["a", "b", "c"] and found["counted"] == ["one", "two"]
    assert [(one["rank"], one["low"], one["high"]) for one in found["candidates"]] == [(1, 1, 2), (2, 1, 2), (3, 3, 3)]
    assert found["candidates"][1]["scores"]["one"] == {"value": 2.0, "rank": 2, "low": 1, "high": 2}
    assert first_of(found["candidates"]) == ["a", "b"]
    assert names(ranking([whole], larger_is_better=True)) == ["c", "b", "a"]


def test_one_half_in_forty_does_not_widen_an_interval_but_three_do() -> None:
    whole, other = {"a": {"s": 1.0}, "b": {"s": 2.0}}, {"a": {"s": 2.0}, "b": {"s": 1.0}}
    for odd, low in ((0, 2), (3, 1)):
        found = ranking([whole, *[whole] * (40 - odd), *[other] * odd], larger_is_better=False)
        assert found["candidates"][1]["low"] == low


def test_what_not_all_have_is_shown_and_not_counted() -> None:
    values = {"a": {"s": 2.0, "t": math.nan}, "b": {"s": 1.0, "t": 0.5}}
    found = ranking([values, values], larger_is_better=True)
    assert found["counted"] == ["s"] and names(found) == ["a", "b"]
    assert math.isnan(found["candidates"][0]["scores"]["t"]["rank"])
    assert found["candidates"][1]["scores"]["t"]["rank"] == 1
    assert "-" in table(found["candidates"])[1].split()


def test_alike_values_share_their_rank() -> None:
    values = {name: {"s": 2.0 + 1e-15 * number} for number, name in enumerate("abc")}
    found = ranking([values, values], larger_is_better=False)
    assert [one["rank"] for one in found["candidates"]] == [2, 2, 2]
    said = sentence(found["candidates"], "nearest", "sources")
    assert said == (
        "which of 3 sources is the nearest cannot be told: the ranks of 'a' (rank 2), 'b' (rank 2) and 'c' (rank 2) "
        "overlap"
    )


def test_the_first_is_named_only_if_no_interval_overlaps_its() -> None:
    def one(name: str, low: float, high: float) -> dict:
        return {"name": name, "low": low, "high": high}

    clear = [one("a", 1, 1), one("b", 2, 3), one("c", 2, 3)]
    assert sentence(clear, "best", "encoders") == (
        "the best of 3 encoders is 'a' (rank 1); after it: 'b' (rank 2 to 3), 'c' (rank 2 to 3)"
    )
    unclear = [one("a", 1, 2), one("b", 2, 2), one("c", 3, 3)]
    assert sentence(unclear, "best", "encoders") == (
        "which of 3 encoders is the best cannot be told: the ranks of 'a' (rank 1 to 2) and 'b' (rank 2) overlap; "
        "after them: 'c' (rank 3)"
    )


def test_nearer_datasets_come_first_and_like_ones_are_not_told_apart() -> None:
    sources = {"far": normal(80, 1.5, 1), "near": normal(90, 0.3, 2), "middle": normal(70, 0.8, 3)}
    found = rank_datasets(sources, normal(80), resamples=10, seed=0)
    assert names(found) == ["near", "middle", "far"]
    assert first_of(found["candidates"]) == ["near"]
    assert all(one["scores"][name]["low"] >= 1 for one in found["candidates"] for name in found["counted"])
    alike = {name: normal(80, 0.3, seed) for seed, name in enumerate("abc", 1)}
    assert len(first_of(rank_datasets(alike, normal(80), resamples=20, seed=0)["candidates"])) > 1


def test_a_dataset_keeps_its_place_whatever_it_is_called_and_wherever_it_stands() -> None:
    sources = {"x": normal(60, 0.2, 1), "y": normal(60, 1.5, 2)}
    one = rank_datasets(sources, normal(60), resamples=6, seed=0)
    other = rank_datasets(dict(reversed(sources.items())), normal(60), resamples=6, seed=0)
    assert names(one) == names(other) == ["x", "y"]


def test_encoders_that_separate_the_classes_come_first() -> None:
    rng = np.random.default_rng(0)
    classes, keys = np.arange(90) % 3, np.arange(90).astype(str)
    noise = rng.normal(size=(90, 12))
    found = rank_encoders(
        {name: Examples(noise + gap * np.eye(12)[classes], keys, classes) for name, gap in
         (("blind", 0.0), ("sharp", 3.0), ("dull", 1.0))},
        resamples=8,
        seed=0,
    )  # fmt: skip
    assert names(found) == ["sharp", "dull", "blind"] and first_of(found["candidates"]) == ["sharp"]
    assert found["counted"] == [name for name in SCORES if name != "leep"]


def test_the_same_seed_gives_the_same_ranking(capsys: pytest.CaptureFixture[str]) -> None:
    sources = {"x": normal(60, 0.2, 1), "y": normal(60, 0.4, 2)}
    first, again, other = (rank_datasets(sources, normal(60), resamples=4, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
