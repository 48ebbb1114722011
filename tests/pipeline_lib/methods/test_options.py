"""Options of every method: numbers have ranges, what is in them trains, and what is not is refused in one sentence."""

import inspect
import math
import typing
from typing import Annotated

import pytest
import torch

from pipeline_lib.core.errors import UserError
from pipeline_lib.core.registry import Range, option_hints, with_options
from pipeline_lib.methods import METHODS
from pipeline_lib.views import augment
from tests.pipeline_lib.methods.sets import encoder_for, make_batch, step

NUMBERS = [
    (method, p.name)
    for method, made in METHODS.items()
    for p in inspect.signature(made).parameters.values()
    if p.kind is p.KEYWORD_ONLY and not isinstance(p.default, (bool, str))
]


def number(method: str, option: str) -> tuple[type, Range]:
    """Return the type and the range of a number, which may be null as well."""
    hint = option_hints(METHODS[method])[option]
    (annotated,) = [part for part in (hint, *typing.get_args(hint)) if typing.get_origin(part) is Annotated]
    kind, *ranges = typing.get_args(annotated)
    (held,) = ranges
    return kind, held


def outside(kind: type, held: Range) -> list[float]:
    below = [] if held.ge is None else [held.ge - (1 if kind is int else 1e-3)]
    above = [] if held.le is None else [held.le + (1 if kind is int else 1e-3)]
    return [*below, *above, *(bound for bound in (held.gt, held.lt) if bound is not None)]


@pytest.mark.parametrize(("method", "option"), NUMBERS)
def test_a_number_has_a_range_and_what_is_outside_is_refused_in_one_sentence(method: str, option: str) -> None:
    kind, held = number(method, option)
    assert outside(kind, held), "a range without bounds"
    for value in (*(kind(value) for value in outside(kind, held)), math.nan, math.inf, "much", True):
        with pytest.raises(UserError) as caught:
            with_options(METHODS[method], {option: value}, "options")
        said = str(caught.value)
        assert (
            said.startswith(f"options.{option} is {value!r}, but must be a") and "\n" not in said and ". " not in said
        )


def inside(held: Range) -> list[float]:
    ends = [held.ge, held.le, None if held.gt is None else held.gt + 1e-3, None if held.lt is None else held.lt - 0.1]
    # Sizes have an end in memory first.
    return [end for end in ends if end is not None and end <= 64]


@pytest.mark.parametrize(("method", "option"), NUMBERS)
def test_a_method_trains_at_the_bounds(method: str, option: str) -> None:
    kind, held = number(method, option)
    for bound in inside(held):
        torch.manual_seed(0)
        encoder = encoder_for(method)
        learner = with_options(METHODS[method], {option: kind(bound)}, "options")(encoder, augment(encoder))
        batch = make_batch(method)
        if option == "num_classes":
            batch["labels"].clamp_(max=0)
        optimizer = torch.optim.SGD(learner.parameters(), 1e-3)
        for progress in (0.0, 0.5):
            assert torch.isfinite(step(learner, optimizer, batch, progress)["loss"])


@pytest.mark.parametrize(("ratio", "kept"), [(0.001, 15), (0.75, 4), (0.9, 1)])
def test_mae_keeps_the_rest_of_what_it_hides(ratio: float, kept: int) -> None:
    encoder = encoder_for("mae")
    assert METHODS["mae"](encoder, augment(encoder), mask_ratio=ratio).num_kept == kept


def test_mae_refuses_to_hide_every_patch() -> None:
    encoder = encoder_for("mae")
    with pytest.raises(UserError, match=r"mask_ratio is 0\.99, which keeps 0 of an image's 16 patches"):
        METHODS["mae"](encoder, augment(encoder), mask_ratio=0.99)


def test_mae_shares_the_width_of_its_decoder_among_its_heads() -> None:
    encoder = encoder_for("mae")
    with pytest.raises(UserError, match=r"decoder_dim is 100, which 4 and decoder_num_heads, 3, .* multiple of 12"):
        METHODS["mae"](encoder, augment(encoder), decoder_dim=100, decoder_num_heads=3)
