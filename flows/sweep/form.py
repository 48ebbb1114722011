"""The types of the fields by which a sweep is started from Prefect's UI: the server refuses a mistyped key by them."""

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, WithJsonSchema

from tasks.params import Params


def key_pattern(model: type[BaseModel] = Params) -> str:
    """Return a regular expression for the keys of params.yaml, such as ``pretrain.method``."""
    return f"({'|'.join(_keys(model))})"


def _keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = "|".join(map(key_pattern, _blocks(field.annotation)))
        options = r"(\.[^,]+)?"
        below = rf"(\.{inner})?" if inner else ""
        if dict in (get_origin(part) for part in (field.annotation, *get_args(field.annotation))):
            # By names of the user's own.
            yield name + rf"(\.[^.,]+{below or options})?"
        else:
            yield f"{name}{below}"


def _blocks(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _blocks(part)


_KEY = key_pattern()
# Keys that change together stand behind one another.
Settings = Annotated[
    dict[str, list[Any]],
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{_KEY}(,{_KEY})*$"},
            "additionalProperties": {"type": "array", "minItems": 1, "items": {}},
            "minProperties": 1,
        }
    ),
]
