"""Explicit dicts of methods: looking one up by name and giving it its options."""

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from pipeline_lib.core.errors import UserError, nearest, shown

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """The numbers that an option takes, in its annotation: ``temperature: Annotated[float, Range(gt=0)] = 0.2``.

    They are above ``gt``, from ``ge`` on, below ``lt`` and up to ``le``, each where it is given. An option that may be
    null as well is ``Annotated[int, Range(ge=8)] | None``.
    """

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None

    def __contains__(self, value: float) -> bool:
        """Say whether the number is in the range; what is not a number (NaN) is in none with a bound."""
        return (
            (self.gt is None or value > self.gt)
            and (self.ge is None or value >= self.ge)
            and (self.lt is None or value < self.lt)
            and (self.le is None or value <= self.le)
        )

    def __str__(self) -> str:
        """Return the range in words: "above 0 and at most 1"."""
        bounds = (("above", self.gt), ("at least", self.ge), ("below", self.lt), ("at most", self.le))
        return " and ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)


Share = Annotated[float, Range(ge=0, le=1)]
Positive = Annotated[float, Range(gt=0)]
Count = Annotated[int, Range(ge=1)]


def pick(registry: Mapping[str, T], name: str, where: str) -> T:
    """Return ``registry[name]``; a UserError names ``where``, what is allowed and the nearest name."""
    if name in registry:
        return registry[name]
    raise UserError(
        f"{where} is {shown(name)}, which is not one of {', '.join(sorted(registry))}{nearest(name, registry)}"
    )


def with_options(function: Callable[..., T], options: Mapping[str, Any], where: str) -> Callable[..., T]:
    """Bind ``options`` to the keyword-only arguments of a function or a class, which are its options.

    Raises UserError for an option that there is not, and for a value that the option's annotation does not allow: of
    another type, out of its :class:`Range`, or not finite.
    """
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty]
    hints = option_hints(function)
    for name, value in options.items():
        if name not in names:
            raise UserError(
                f"{where} has no option {shown(name)}: allowed are "
                f"{', '.join(sorted(names)) or 'none'}{nearest(str(name), names)}"
            )
        if not _fits(value, hints[name]):
            raise UserError(f"{where}.{name} is {shown(value)}, but must be {_describe(hints[name])}")
    return partial(function, **options)


def option_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function or of a class's constructor by argument, with their ranges."""
    return typing.get_type_hints(function.__init__ if inspect.isclass(function) else function, include_extras=True)


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _fits(value, arguments[0]) and all(value in item for item in _ranges(arguments))
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is Literal:
        return any(type(value) is type(argument) and value == argument for argument in arguments)
    if origin in (list, tuple, Sequence):
        return isinstance(value, (list, tuple)) and all(_fits(item, arguments[0]) for item in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return hint is Any or isinstance(value, origin or hint)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _ranges(arguments: Sequence[Any]) -> list[Range]:
    return [item for item in arguments[1:] if isinstance(item, Range)]


def _describe(hint: Any) -> str:
    """Return the values that an annotation allows, in words: "a number above 0, or null"."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return " ".join([_describe(arguments[0]), *map(str, _ranges(arguments))])
    if origin in (typing.Union, types.UnionType):
        return ", or ".join(_describe(argument) for argument in arguments)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (list, tuple, Sequence):
        return f"a list, each {_describe(arguments[0])}"
    words = {
        float: "a finite number",
        int: "a whole number",
        bool: "true or false",
        str: "text",
        types.NoneType: "null",
    }
    return words.get(hint) or f"a {getattr(origin or hint, '__name__', hint)}"
