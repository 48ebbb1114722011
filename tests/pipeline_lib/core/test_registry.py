import pytest

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.registry import pick, with_options


def method(x: int, *, temperature: float = 0.5, clusters: int = 3, hard: bool = False, name: str = "a") -> tuple:
    return x, temperature, clusters, hard, name


def test_pick_returns_the_entry() -> None:
    assert pick({"method": method}, "method", "here") is method


def test_pick_names_the_place_the_choices_and_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"adapt\.use is 'ada_bn', which is not one of adabn, mcc; did you mean 'adabn'"
    ):
        pick({"mcc": 1, "adabn": 2}, "ada_bn", "adapt.use")


def test_options_are_bound() -> None:
    assert with_options(method, {"temperature": 1, "hard": True}, "here")(7) == (7, 1, 3, True, "a")


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"o\.temprature is not an option here: .*did you mean 'temperature'"):
        with_options(method, {"temprature": 1.0}, "o")


@pytest.mark.parametrize(
    "options",
    [{"temperature": "hot"}, {"temperature": True}, {"clusters": 2.5}, {"hard": 1}, {"name": 3}, {"x": 1}],
    ids=str,
)
def test_an_option_of_another_type_or_a_positional_one_is_refused(options: dict) -> None:
    with pytest.raises(UserError, match=f"o.{next(iter(options))}"):
        with_options(method, options, "o")
