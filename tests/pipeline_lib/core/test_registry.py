import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.registry import Count, Range, Share, pick, with_options


def method(
    x: int,
    *,
    temperature: Annotated[float, Range(gt=0, le=10)] = 0.5,
    share: Share = 0.5,
    clusters: Count = 3,
    side: Annotated[int, Range(ge=8)] | None = None,
    sizes: Sequence[Annotated[int, Range(ge=1)]] = (1, 5),
    metric: Literal["cosine", "euclidean"] = "cosine",
    hard: bool = False,
    name: str = "a",
) -> tuple:
    return x, temperature, clusters, hard, name


class Method:
    def __init__(self, x: int, *, temperature: Annotated[float, Range(gt=0)] = 0.5) -> None:
        self.temperature = temperature


def test_pick_returns_the_entry() -> None:
    assert pick({"method": method}, "method", "here") is method


def test_pick_names_the_place_the_choices_and_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"adapt\.use is 'ada_bn', which is not one of adabn, mcc; did you mean 'adabn'"
    ):
        pick({"mcc": 1, "adabn": 2}, "ada_bn", "adapt.use")


@pytest.mark.parametrize(
    "options",
    [
        *({"temperature": 1}, {"temperature": 1e-9}, {"share": 0}, {"share": 1.0}, {"clusters": 1}, {"side": None}),
        *({"side": 8}, {"sizes": [2, 3]}, {"sizes": ()}, {"metric": "euclidean"}, {"hard": True}, {"name": ""}),
    ],
    ids=str,
)
def test_what_the_annotation_allows_is_bound(options: dict[str, Any]) -> None:
    assert with_options(method, options, "here").keywords == options  # type: ignore[attr-defined]


def test_options_reach_a_function_and_a_class() -> None:
    assert with_options(method, {"temperature": 1, "hard": True}, "here")(7) == (7, 1, 3, True, "a")
    assert with_options(Method, {"temperature": 2.0}, "here")(7).temperature == 2.0
    with pytest.raises(UserError, match=r"^o\.temperature is -1, but must be a finite number above 0$"):
        with_options(Method, {"temperature": -1}, "o")


@pytest.mark.parametrize("options", [{"temprature": 1.0}, {"x": 1}], ids=str)
def test_what_is_no_option_is_refused_with_the_nearest(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"^o has no option '{next(iter(options))}': allowed are clusters, hard, .*"):
        with_options(method, options, "o")
    with pytest.raises(UserError, match=r"did you mean 'temperature'\?$"):
        with_options(method, {"temprature": 1.0}, "o")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"temperature": "hot"}, "o.temperature is 'hot', but must be a finite number above 0 and at most 10"),
    ({"temperature": True}, "o.temperature is True, but must be a finite number above 0 and at most 10"),
    ({"temperature": 0}, "o.temperature is 0, but must be a finite number above 0 and at most 10"),
    ({"temperature": 10.5}, "o.temperature is 10.5, but must be a finite number above 0 and at most 10"),
    ({"temperature": math.nan}, "o.temperature is nan, but must be a finite number above 0 and at most 10"),
    ({"temperature": None}, "o.temperature is None, but must be a finite number above 0 and at most 10"),
    ({"share": math.inf}, "o.share is inf, but must be a finite number at least 0 and at most 1"),
    ({"clusters": 2.5}, "o.clusters is 2.5, but must be a whole number at least 1"),
    ({"clusters": 0}, "o.clusters is 0, but must be a whole number at least 1"),
    ({"side": 7}, "o.side is 7, but must be a whole number at least 8, or null"),
    ({"sizes": 3}, "o.sizes is 3, but must be a list, each a whole number at least 1"),
    ({"sizes": [1, 0]}, "o.sizes is [1, 0], but must be a list, each a whole number at least 1"),
    ({"metric": "manhattan"}, "o.metric is 'manhattan', but must be one of cosine, euclidean"),
    ({"hard": 1}, "o.hard is 1, but must be true or false"),
    ({"name": 3}, "o.name is 3, but must be text"),
]


@pytest.mark.parametrize(("options", "sentence"), REFUSED, ids=str)
def test_what_the_annotation_does_not_allow_is_refused_in_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        with_options(method, options, "o")
    assert str(caught.value) == sentence


@pytest.mark.parametrize("value", [10**400, -(10**5000), "x" * 10**7, ["\n"] * 10**5], ids=["e400", "e5000", "s", "l"])
def test_a_value_without_measure_is_refused_in_a_short_line(value: Any) -> None:
    for refused in ({"temperature": value}, {"hard": value}):
        with pytest.raises(UserError) as caught:
            with_options(method, refused, "o")
        assert len(str(caught.value)) < 200
    with pytest.raises(UserError) as caught:
        pick({"method": method}, str(value)[: 10**6] if isinstance(value, str) else "absent", "o")
    assert len(str(caught.value)) < 200


def test_a_range_says_what_is_in_it() -> None:
    assert [value in Range(gt=0, lt=1) for value in (0, 0.5, 1)] == [False, True, False]
    assert [value in Range(ge=0, le=1) for value in (-0.1, 0, 1, 1.1)] == [False, True, True, False]
    assert 10**9 in Range() and math.nan not in Range(ge=0)
    assert str(Range(ge=8, lt=64)) == "at least 8 and below 64"
