"""What dvc.yaml says of a stage under ``meta``: how the flow runs it, and what must hold of its metrics."""

import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pipeline_lib.core.errors import UserError, nearest
from pipeline_lib.core.files import read_json
from tasks.declaration import makes, read_stages
from tasks.yaml_files import DVC_FILE, read_yaml


class Bounds(BaseModel):
    """The least and the most that a metric may be; one of them may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "Bounds":
        if self.min is None and self.max is None:
            raise ValueError("neither min nor max is given")
        return self


class Meta(BaseModel):
    """The settings of a stage; further keys are the user's own.

    ``gpu`` is how many GPUs it has for itself (true: one), ``retries`` is how often a crash is tried again, ``timeout``
    is in seconds, and ``checks`` maps a metrics file of the stage to the bounds of its keys.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    gpu: Annotated[
        int, BeforeValidator(lambda given: int(given) if isinstance(given, bool) else given), Field(ge=0)
    ] = 0
    retries: Annotated[int, Field(ge=0)] = 0
    timeout: Annotated[float, Field(gt=0)] | None = None
    checks: dict[str, dict[str, Bounds]] = {}


def parse_meta(stage: str, meta: Any) -> Meta:
    """Return the settings under ``meta`` of a stage; UserError where a value is not allowed."""
    try:
        return Meta.model_validate(meta or {})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, ("meta", *first["loc"])))
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{DVC_FILE}: {key} of the stage '{stage}' is {first['input']!r}: {message}") from None


def unmet(stage: str, meta: Meta) -> list[str]:
    """Return a sentence for each check of a stage that its metrics do not meet.

    Raises UserError for a check of a metric that is not there.
    """
    sentences = []
    for file, bounds in meta.checks.items():
        if not Path(file).exists():
            raise UserError(f"{DVC_FILE}: meta.checks of the stage '{stage}' names {file}, which it does not leave")
        metrics = _read_metrics(Path(file))
        for key, bound in bounds.items():
            if key not in metrics:
                hint = nearest(key, metrics)
                raise UserError(f"{DVC_FILE}: meta.checks of '{stage}' names {key}, which is not in {file}{hint}")
            given = metrics[key]
            value = given if isinstance(given, (int, float)) else math.nan
            # `not >=`, so that what is not a number meets no bound.
            low = bound.min is not None and not value >= bound.min
            high = bound.max is not None and not value <= bound.max
            if low or high:
                side = f"below the least of {bound.min:g}" if low else f"above the most of {bound.max:g}"
                shown = "null" if given is None else f"{value:.4g}"
                broken = f"{side} that meta.checks in {DVC_FILE} allows"
                sentences.append(f"{stage} is blocked: {key} in {file} is {shown}, {broken}")
    return sentences


def refuse_unmet_before(address: str) -> None:
    """Raise UserError if a stage whose outputs the stage ``address`` depends on does not meet its checks."""
    stages = read_stages()
    for other in stages.values():
        meta = parse_meta(other.address, other.meta)
        if meta.checks and other.address != address and makes(other, stages[address]):
            for sentence in unmet(other.address, meta):
                raise UserError(sentence)


def _read_metrics(path: Path) -> dict[str, Any]:
    """Return the metrics in a file of JSON, YAML or TOML, nested ones with dots, as DVC names them."""
    if path.suffix == ".toml":
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: not valid TOML ({error})") from None
    else:
        content = read_yaml(path) if path.suffix in (".yaml", ".yml") else read_json(path)
    return dict(_flat(content, ""))


def _flat(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
