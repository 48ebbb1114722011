"""Explicit dicts of methods: looking one up by name and giving it its options."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from pipeline_lib.core.errors import UserError, nearest

T = TypeVar("T")


def pick(registry: Mapping[str, T], name: str, where: str) -> T:
    """Return ``registry[name]``; a UserError names ``where``, what is allowed and the nearest name."""
    if name in registry:
        return registry[name]
    raise UserError(f"{where} is '{name}', which is not one of {', '.join(sorted(registry))}{nearest(name, registry)}")


def with_options(function: Callable[..., T], options: Mapping[str, Any], where: str) -> Callable[..., T]:
    """Bind ``options`` to the keyword-only arguments of ``function``, which are its options.

    Raises UserError for an option that the function does not have, or of another type than its default.
    """
    parameters = inspect.signature(function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
    for key, value in options.items():
        if key not in defaults:
            raise UserError(
                f"{where}.{key} is not an option here: allowed are "
                f"{', '.join(sorted(defaults)) or 'none'}{nearest(key, defaults)}"
            )
        if not _fits(value, defaults[key]):
            raise UserError(f"{where}.{key} is {value!r}, but must be of the type of its default, {defaults[key]!r}")
    return partial(function, **options)


def _fits(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    if isinstance(default, (list, tuple)):
        return isinstance(value, (list, tuple))
    return isinstance(value, type(default))
