"""Reading what a stage, or whoever checks all of it, needs of params.yaml; whatever is wrong there is one sentence."""

import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline_lib.core.errors import UserError, nearest, shown
from tasks.blocks.base import Block, Part
from tasks.yaml_files import PARAMS_FILE, read_yaml

P = TypeVar("P", bound=Part)


def read_settings(settings: type[P], path: Path = PARAMS_FILE) -> P:
    """Read and check the part of params.yaml that ``settings`` describes.

    Raises UserError naming the file, the key's path, the value, what is allowed and the nearest name.
    """
    return parse(settings, read_yaml(path), path)


def parse(settings: type[P], raw: Mapping[str, Any], path: Path = PARAMS_FILE) -> P:
    """Check what ``path`` holds, as :func:`read_settings`."""
    try:
        return settings.model_validate(raw)
    except ValidationError as error:
        first, *others = error.errors(include_url=False)
        more = f" (and {len(others)} more)" if others else ""
        raise UserError(f"{path}: {_explain(settings, first)}{more}") from None


@contextmanager
def written_in(block: str) -> Iterator[None]:
    """Say in which block of params.yaml an option was written that the library refuses: it only knows its name."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{block} in {PARAMS_FILE}: {error}") from None


def _explain(settings: type[Part], error: ErrorDetails) -> str:
    key = ".".join(map(_short, error["loc"]))
    if error["type"] == "extra_forbidden":
        names = _fields_at(settings, error["loc"][:-1])
        hint = nearest(str(error["loc"][-1]), names)
        return f"unknown key '{key}': allowed here are {', '.join(names)}{hint}"
    if error["type"] == "missing":
        return f"the key '{key}' is missing: add it"
    if error["type"] == "value_error":
        return f"{key + ': ' if key else ''}{error['ctx']['error']}"
    value, hint = error["input"], ""
    if error["loc"][-1:] == ("[key]",):
        block = str(error["loc"][0])
        allowed = (
            "take letters, digits, dashes and underscores, 50 at most" if block == "datasets" else "write some text"
        )
        return f"{block} has the name {shown(value)}: {'write it in quotes' if isinstance(value, int) else allowed}"
    if error["type"] == "string_too_short":
        return f"{key} is empty: write something there"
    if error["type"] == "literal_error" and isinstance(value, str):
        words = error["ctx"]["expected"].replace(" or ", ", ").split(", ")
        hint = nearest(value, [word.strip("'") for word in words])
    message = error["msg"].replace("Input should be", "must be")
    return f"{key} is {shown(value)}, but {message}{hint}"


def _short(part: int | str) -> str:
    """Return a part of a key, which may be a name of the user's, cut to what a sentence can hold."""
    return text if len(text := str(part)) <= 100 else f"{text[:50]}...{text[-50:]}"


def _fields_at(settings: type[Part], location: tuple[int | str, ...]) -> list[str]:
    annotation: Any = settings
    for name in location:
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        else:
            annotation = annotation.model_fields[str(name)].annotation
        if isinstance(annotation, types.UnionType):
            annotation = next(one for one in get_args(annotation) if isinstance(one, type) and issubclass(one, Block))
    return list(annotation.model_fields)
